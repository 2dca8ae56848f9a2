"""The real side of a case: descriptors and VMs that act out its steps, and what they show.

A rig belongs to one thread. It keeps a machine from case to case as long as nothing is registered
in it any more, since making one costs more than most cases do.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from kvmabi import uapi
from kvmabi.errors import KvmAbiError
from kvmabi.ioeventfd.contract import Bus
from kvmabi.ioeventfd.steps import (
    ACCUMULATOR,
    NUMBERS,
    Access,
    Case,
    CloseFd,
    CoalescedZones,
    DupFd,
    FdKind,
    FillFd,
    GuestRun,
    Ioeventfd,
    Layout,
    OpenFd,
    ReplaceVm,
    Step,
)
from kvmabi.kvm import System
from kvmabi.vmm import Access as GuestAccess
from kvmabi.vmm import Batch, ExerciserMachine

FDS_EACH: Final = 24
"""How many descriptors of its own a case may have open at once."""
MOST_READS: Final = 512
"""How often an eventfd is read to empty it."""
GUEST_DEADLINE_S: Final = 20.0
"""Its accesses take milliseconds; in an emulator, on a machine with much else to do, seconds."""
_ERROR_OR_DATA: Final = select.POLLIN | select.POLLERR


def _make_fd(kind: FdKind) -> int:
    """Return a new descriptor of this kind, wherever the kernel puts it."""
    match kind:
        case FdKind.EVENTFD:
            return os.eventfd(0, os.EFD_CLOEXEC)
        case FdKind.SEMAPHORE:
            return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        case FdKind.NONBLOCKING:
            return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        case FdKind.PIPE:
            read_end, write_end = os.pipe()
            os.close(write_end)
            return read_end
        case FdKind.FILE:
            return os.memfd_create("kvmabi")
        case FdKind.DIRECTORY:
            return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        case FdKind.EPOLL:
            epoll = select.epoll()
            try:
                return os.dup(epoll.fileno())
            finally:
                epoll.close()
        case FdKind.KVM:
            return os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        case FdKind.PATH:
            return os.open("/", os.O_PATH | os.O_CLOEXEC)
        case _:
            raise AssertionError(f"{kind} is not opened")


def _held(eventfd: int) -> int:
    """Return an eventfd's count without reading it. Source: fs/eventfd.c, eventfd_show_fdinfo."""
    for line in Path(f"/proc/self/fdinfo/{eventfd}").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "eventfd-count":
            return int(value, 16)
    raise KvmAbiError(f"/proc/self/fdinfo/{eventfd} has no eventfd-count")


class Rig:
    """One thread's descriptors and machines.

    `first_fd` starts a range of FDS_EACH descriptor numbers that nothing else in the process uses.
    Cases that try closed descriptors get theirs from there, so that a closed number stays closed,
    whatever other threads open meanwhile. Such ranges start at `shared_below`: the kernel must
    never hand out a number from there on. Machines have one vCPU until a case needs two.
    """

    def __init__(self, system: System, first_fd: int, *, shared_below: int | None = None) -> None:
        self._system = system
        self._shared_below = first_fd if shared_below is None else shared_below
        self._numbers = range(first_fd + FDS_EACH - 1, first_fd - 1, -1)
        self._free = list(self._numbers)
        self._fds: dict[str, int] = {}
        self._kinds: dict[int, FdKind] = {}
        self._machines: dict[int, ExerciserMachine] = {}
        self._vcpus = 1
        self._hazardous = False
        self.timed = False
        """Whether the guest also counts cycles, which costs a little."""
        self._own_numbers = False
        self._arg = uapi.kvm_ioeventfd()

    def close(self) -> None:
        """Close every descriptor and machine."""
        self.close_fds()
        self.discard_machines()

    def machine(self, vm: int) -> ExerciserMachine:
        """Return the machine that plays this VM of the case, made on first use."""
        machine = self._machines.get(vm)
        if machine is None:
            machine = ExerciserMachine(self._system, vcpus=self._vcpus, hazardous=self._hazardous)
            self._machines[vm] = machine
            self._check_shared(machine.vm.fd)
        return machine

    def prepare(self, case: Case) -> Layout:
        """Have a machine ready for the case, and return where its BARs are."""
        self._own_numbers = any(map(_leaves_closed, case.steps))
        vcpus, hazardous = case.vcpus, bool(case.hazardous)
        if vcpus > self._vcpus or hazardous != self._hazardous:
            self.discard_machines()
            self._vcpus = max(vcpus, self._vcpus)
            self._hazardous = hazardous
        machine = self.machine(0)
        return Layout(machine.bar0_gpa, machine.bar1_port)

    def discard_machines(self) -> None:
        """Close all machines with whatever is registered in them."""
        with ExitStack() as stack:
            for machine in self._machines.values():
                stack.callback(machine.close)
            self._machines.clear()

    def replace_vm(self, step: ReplaceVm) -> None:
        """Close one VM; the next use makes it anew."""
        machine = self._machines.pop(step.vm, None)
        if machine is not None:
            machine.close()

    def open_fd(self, step: OpenFd) -> None:
        """Open a descriptor, at a number of this rig's own where the case closes any."""
        if step.kind in NUMBERS:
            self._fds[step.name] = NUMBERS[step.kind]
        elif step.kind is FdKind.CLOSED:
            self._fds[step.name] = self._free.pop()
        else:
            self._keep(step.name, _make_fd(step.kind), step.kind)

    def dup_fd(self, step: DupFd) -> None:
        """Give an open descriptor's file a second number."""
        source = self._fds[step.of]
        self._keep(step.name, os.dup(source), self._kinds[source])

    def _keep(self, name: str, number: int, kind: FdKind) -> None:
        """Remember a new descriptor under its name, at a number of this rig's own if need be."""
        kept = self._moved(number) if self._own_numbers else number
        self._fds[name] = kept
        self._kinds[kept] = kind
        self._check_shared(number)

    def _check_shared(self, fd: int) -> None:
        if fd >= self._shared_below:
            raise KvmAbiError(
                f"the kernel gave out descriptor {fd}, and those from {self._shared_below} on are "
                "reserved: more are open than a case may have"
            )

    def _moved(self, fd: int) -> int:
        """Return a number of this rig's own, after moving a descriptor there."""
        number = self._free.pop()
        try:
            os.dup2(fd, number, inheritable=False)
        finally:
            os.close(fd)
        return number

    def close_fd(self, step: CloseFd) -> None:
        """Close a descriptor; its number stays with the name, unless that is opened again."""
        number = self._fds[step.name]
        os.close(number)
        del self._kinds[number]
        self._free.append(number)

    def close_fds(self) -> None:
        """Close what the case still has open, and forget its names."""
        for number in self._kinds:
            with suppress(OSError):
                os.close(number)
        self._free = list(self._numbers)
        self._kinds.clear()
        self._fds.clear()

    def fill_fd(self, step: FillFd) -> None:
        """Write a count to an eventfd."""
        os.eventfd_write(self._fds[step.name], step.count)

    def count(self, name: str) -> int:
        """Read an eventfd to its end, and return what it held; 2^64 - 1 once it was full.

        A semaphore gives 1 a read: one that holds more than MOST_READS is asked by fdinfo instead,
        and not emptied.
        """
        number = self._fds[name]
        if self._kinds[number] is FdKind.NONBLOCKING:
            try:
                return os.eventfd_read(number)
            except BlockingIOError:
                return 0
        total = 0
        for _ in range(MOST_READS):
            if not self._poll(name) & select.POLLIN:
                return total
            total += os.eventfd_read(number)
        return total + _held(number)

    def polls_as_error(self, name: str) -> bool:
        """Return whether poll reports POLLERR: an eventfd does so at its maximum alone."""
        return bool(self._poll(name) & select.POLLERR)

    def _poll(self, name: str) -> int:
        poller = select.poll()
        poller.register(self._fds[name], _ERROR_OR_DATA)
        return next((events for _, events in poller.poll(0)), 0)

    def ioeventfd(self, step: Ioeventfd, addr: int, flags: int) -> int:
        """Carry out one KVM_IOEVENTFD, and return 0 or its errno."""
        arg = self._arg
        arg.datamatch = step.datamatch
        arg.addr = addr
        arg.len = step.len
        arg.fd = self._fds[step.fd]
        arg.flags = flags
        return self.machine(step.vm).vm.try_ioeventfd(arg)

    def coalesced_zones(self, step: CoalescedZones, address: int) -> None:
        """Register a case's coalesced zones."""
        vm = self.machine(step.vm).vm
        for index in range(step.count):
            vm.register_coalesced(address + 4 * index, 4, pio=step.bus is Bus.PIO)

    def guest_run(self, step: GuestRun, resolve: Callable[[Access], int]) -> Batch:
        """Have a vCPU make its accesses, and return what came of them."""
        accesses = [guest_access(access, resolve(access)) for access in step.accesses]
        return self.machine(step.vm).perform(
            accesses,
            vcpu=step.vcpu,
            deadline_s=GUEST_DEADLINE_S,
            timed=self.timed,
            handover=step.handover,
            answer=Answers(),
        )


def _leaves_closed(step: Step) -> bool:
    return isinstance(step, CloseFd) or (isinstance(step, OpenFd) and step.kind is FdKind.CLOSED)


class Answers:
    """Bytes to answer reads with: never the same twice in a row, and none of them zero."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        self._number += 1
        start = self._number * 7
        return bytes(1 + (start + 37 * index) % 255 for index in range(size))


def guest_access(access: Access, address: int) -> GuestAccess:
    """Return an access as the machine takes it; a read starts with a filled accumulator."""
    return GuestAccess(
        bus=access.bus.value,
        address=address,
        width=access.width,
        write=access.write,
        data=access.values[0] if access.write else ACCUMULATOR,
        values=access.values if access.string else (),
        insn=access.insn,
    )
