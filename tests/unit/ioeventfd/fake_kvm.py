"""KVM in software, behind the Rig's interface: it plays the whole matrix without a device.

It is made as a kernel is: a list of devices a VM and an array sorted by address a bus, arguments
checked with arithmetic that wraps, data as the bytes that a guest stored. The contract is made
otherwise on purpose, so that the two are checked against each other. Every method of `FakeKvm` is a
place to break it: see `kernel_faults`.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from errno import EBADF, EEXIST, EINVAL, ENOENT
from operator import attrgetter
from typing import Final, NamedTuple, cast

from kvmabi import uapi
from kvmabi.guest.mailbox import LANDING_PADS
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.rig import Rig
from kvmabi.ioeventfd.steps import NUMBERS, CloseFd, DupFd, FdKind, FillFd, OpenFd
from kvmabi.kvm import System
from kvmabi.vmm import Access, Batch, Exit, Outcome

U64: Final = (1 << 64) - 1
PAGE: Final = 4096
BAR0_GPA: Final = 0xE000_0000
BAR1_PORT: Final = 0xC000
FIRST_FD: Final = 100
MMIO: Final = "mmio"
PIO: Final = "pio"
CCW: Final = "ccw"
BUSES: Final = (MMIO, PIO, CCW)
DATAMATCH: Final = uapi.KVM_IOEVENTFD_FLAG_DATAMATCH

LONG_RUN: Final = 256
LONG_RUN_S: Final = 0.001
"""A run of so many accesses takes a while, so that other vCPUs start meanwhile."""

address_of: Final = attrgetter("address")


class Eventfd:
    """An eventfd: its count, behind a lock."""

    __slots__ = ("count", "kind", "lock")

    def __init__(self, kind: FdKind) -> None:
        self.kind = kind
        self.count = 0
        self.lock = threading.Lock()


class Arg(NamedTuple):
    """A struct kvm_ioeventfd."""

    addr: int
    len: int
    flags: int
    datamatch: int
    fd: int


@dataclass(slots=True, eq=False)
class Device:
    """One ioeventfd. `number` says how many the VM had before it; `signals` counts its hits."""

    bus: str
    address: int
    length: int
    wildcard: bool
    datamatch: int
    eventfd: Eventfd
    flags: int
    number: int
    signals: int = 0


@dataclass(eq=False)
class Vm:
    """A VM: its ioeventfds in the order of their assign, and by bus and address."""

    kvm: FakeKvm
    index: int
    ioeventfds: list[Device] = field(default_factory=list)
    buses: dict[str, list[Device]] = field(default_factory=lambda: {bus: [] for bus in BUSES})
    zones: int = 0

    def try_ioeventfd(self, arg: uapi.kvm_ioeventfd) -> int:
        """KVM_IOEVENTFD: 0 or the errno."""
        return self.kvm.ioeventfd(self, Arg(arg.addr, arg.len, arg.flags, arg.datamatch, arg.fd))

    def register_coalesced(self, _address: int, _size: int, *, pio: bool = False) -> None:
        """KVM_REGISTER_COALESCED_MMIO: a device at an address that no case accesses."""
        self.zones += 1


@dataclass(eq=False)
class Run:
    """What one vCPU does: where its exits go, and who answers its reads."""

    vm: Vm
    vcpu: int
    answer: Callable[[int], bytes]
    handover: bool = False
    exits: list[Exit] = field(default_factory=list)
    index: int = 0


def all_ones(size: int) -> bytes:
    """What a read gets where there is no device."""
    return b"\xff" * size


class FakeKvm:
    """The faithful kernel, of the kind that `kernel` tells."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.files: dict[int, Eventfd | None] = {}
        """The process's open descriptors; None is a file that is no eventfd."""
        self.vms: list[Vm] = []

    # KVM_CREATE_VM, and the two ways in which things end.

    def create_vm(self, index: int) -> Vm:
        vm = Vm(self, index)
        self.vms.append(vm)
        return vm

    def close_vm(self, vm: Vm) -> None:
        self.vms.remove(vm)

    def release(self, eventfd: Eventfd) -> None:
        """User space has closed its last descriptor of this eventfd."""

    # KVM_IOEVENTFD.

    def ioeventfd(self, vm: Vm, arg: Arg) -> int:
        if arg.flags & uapi.KVM_IOEVENTFD_FLAG_DEASSIGN:
            return self.deassign(vm, arg)
        return self.assign(vm, arg)

    def assign(self, vm: Vm, arg: Arg) -> int:
        error = self.check(arg)
        if error:
            return error
        eventfd = self.eventfd_of(arg.fd)
        if isinstance(eventfd, int):
            return eventfd
        new = self.device(vm, arg, eventfd)
        if any(self.collides(old, new) for old in self.rivals(vm)):
            return EEXIST
        return self.add(vm, new)

    def deassign(self, vm: Vm, arg: Arg) -> int:
        eventfd = self.eventfd_of(arg.fd)
        if isinstance(eventfd, int):
            return eventfd
        wanted = self.device(vm, arg, eventfd)
        for device in vm.ioeventfds:
            if self.is_named(device, wanted):
                self.remove(vm, device)
                return 0
        return ENOENT

    def check(self, arg: Arg) -> int:
        """Judge the arguments of an assign alone: 0 or EINVAL."""
        if not self.is_length(arg.len):
            return EINVAL
        if (arg.addr + arg.len) & U64 < arg.addr:
            return EINVAL
        if arg.flags & ~self.valid_flags():
            return EINVAL
        if arg.len == 0 and not self.takes_any_length(arg.flags):
            return EINVAL
        return EINVAL if self.is_bad_pv_mmio(arg) else 0

    def is_length(self, length: int) -> bool:
        return length == 0 or (length <= 8 and length & (length - 1) == 0)

    def valid_flags(self) -> int:
        return self.kernel.valid_flag_mask

    def takes_any_length(self, flags: int) -> bool:
        if flags & DATAMATCH:
            return False
        return self.kernel.any_length or (self.kernel.no_length and self.bus_of(flags) == MMIO)

    def is_bad_pv_mmio(self, arg: Arg) -> bool:
        if not arg.flags & self.kernel.pv_mmio:
            return False
        return bool(arg.flags & (DATAMATCH | uapi.KVM_IOEVENTFD_FLAG_PIO))

    def bus_of(self, flags: int) -> str:
        if flags & uapi.KVM_IOEVENTFD_FLAG_PIO:
            return PIO
        return CCW if flags & uapi.KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY else MMIO

    def eventfd_of(self, fd: int) -> Eventfd | int:
        """The eventfd behind a descriptor, or the errno that the descriptor earns."""
        if fd not in self.files:
            return EBADF
        return self.files[fd] or EINVAL

    def device(self, vm: Vm, arg: Arg, eventfd: Eventfd) -> Device:
        return Device(
            bus=self.bus_of(arg.flags),
            address=arg.addr,
            length=arg.len,
            wildcard=not arg.flags & DATAMATCH,
            datamatch=arg.datamatch,
            eventfd=eventfd,
            flags=arg.flags,
            number=len(vm.ioeventfds),
        )

    def rivals(self, vm: Vm) -> Sequence[Device]:
        """Those that a new device may collide with."""
        return vm.ioeventfds

    def collides(self, old: Device, new: Device) -> bool:
        if old.bus != new.bus or old.address != new.address:
            return False
        if not old.length or not new.length:
            return True
        if old.length != new.length:
            return False
        return old.wildcard or new.wildcard or old.datamatch == new.datamatch

    def is_named(self, device: Device, wanted: Device) -> bool:
        """Whether a deassign for `wanted` means `device`."""
        return (
            device.bus == wanted.bus
            and device.eventfd is wanted.eventfd
            and device.address == wanted.address
            and device.length == wanted.length
            and device.wildcard == wanted.wildcard
            and (device.wildcard or device.datamatch == wanted.datamatch)
        )

    def add(self, vm: Vm, device: Device) -> int:
        vm.ioeventfds.append(device)
        insort(vm.buses[device.bus], device, key=address_of)
        return 0

    def remove(self, vm: Vm, device: Device) -> None:
        vm.ioeventfds.remove(device)
        vm.buses[device.bus].remove(device)

    # A guest's access, as it reaches a bus.

    def bus_write(self, run: Run, bus: str, address: int, data: bytes) -> bool:
        """Whether the kernel takes a write; user space sees it otherwise."""
        takers = self.find(run, bus, address, data)
        for device in takers:
            device.signals += 1
            self.signal(device.eventfd)
        return bool(takers)

    def bus_read(self, run: Run, bus: str, address: int, size: int) -> bytes | None:
        """What the kernel answers to a read: nothing, it has no readable device."""
        return None

    def find(self, run: Run, bus: str, address: int, data: bytes) -> list[Device]:
        for device in self.candidates(run.vm, bus, address):
            if self.in_range(device, data):
                return [device]
        return []

    def candidates(self, vm: Vm, bus: str, address: int) -> Iterable[Device]:
        """All devices at an address of a bus."""
        array = vm.buses[bus]
        first = last = bisect_left(array, address, key=address_of)
        while last < len(array) and array[last].address == address:
            last += 1
        return array[first:last]

    def in_range(self, device: Device, data: bytes) -> bool:
        """Whether a write at a device's address is for it."""
        if not device.length:
            return True
        if device.length != len(data):
            return False
        return device.wildcard or self.is_datamatch(device, data)

    def is_datamatch(self, device: Device, data: bytes) -> bool:
        return device.datamatch.to_bytes(8, "little") == data.ljust(8, b"\0")

    def signal(self, eventfd: Eventfd) -> None:
        with eventfd.lock:
            if eventfd.count < U64:
                eventfd.count += 1

    # KVM_RUN: the guest's instructions, the emulator, and exits to user space.

    def run(self, run: Run, accesses: Iterable[Access]) -> Batch:
        outcomes = []
        for run.index, access in enumerate(accesses):
            outcomes.append(self.instruction(run, access))
        return Batch(run.exits, outcomes)

    def instruction(self, run: Run, access: Access) -> Outcome:
        stride = access.width if access.values and access.bus == MMIO else 0
        got = b""
        for number, value in enumerate(self.elements(access)):
            address = access.address + number * stride
            if access.write:
                data = value.to_bytes(16, "little")[: access.width]
                self.store(run, access.bus, address, data)
            else:
                got += self.load(run, access.bus, address, access.width)
        return self.outcome(access, got)

    def elements(self, access: Access) -> Sequence[int]:
        return access.values or (access.data,)

    def store(self, run: Run, bus: str, address: int, data: bytes) -> None:
        for skip, size in self.fragments(bus, address, len(data)):
            part = data[skip : skip + size]
            if not self.bus_write(run, bus, address + skip, part):
                run.exits += self.exits(run, bus, address + skip, part, write=True)

    def load(self, run: Run, bus: str, address: int, width: int) -> bytes:
        got = b""
        for skip, size in self.fragments(bus, address, width):
            data = self.bus_read(run, bus, address + skip, size)
            if data is None:
                data = run.answer(size)
                run.exits += self.exits(run, bus, address + skip, data, write=False)
            got += data
        return got

    def fragments(self, bus: str, address: int, width: int) -> Iterator[tuple[int, int]]:
        """Yield (byte offset, size) of each page's part of an access."""
        left = PAGE - address % PAGE if bus == MMIO else width
        if width > left:
            yield 0, left
            yield left, width - left
        else:
            yield 0, width

    def exits(self, run: Run, bus: str, address: int, data: bytes, *, write: bool) -> list[Exit]:
        reason = uapi.KVM_EXIT_MMIO if bus == MMIO else uapi.KVM_EXIT_IO
        return [Exit(run.index, reason, bus, address, len(data), write, data)]

    def outcome(self, access: Access, got: bytes) -> Outcome:
        width = access.width
        if access.write or not access.values:
            return Outcome(True, LANDING_PADS, 0, self.accumulator(access, got))
        values = tuple(
            int.from_bytes(got[at : at + width], "little") for at in range(0, len(got), width)
        )
        return Outcome(True, LANDING_PADS, 0, self.accumulator(access, b""), values)

    def accumulator(self, access: Access, got: bytes) -> int:
        """RAX: a read of 4 bytes clears its upper half, a narrower one leaves the rest."""
        if len(got) == 4:
            return int.from_bytes(got, "little")
        return int.from_bytes(got + access.data.to_bytes(8, "little")[len(got) :], "little")


class FakeMachine:
    """What a rig needs of a machine."""

    bar0_gpa = BAR0_GPA
    bar1_port = BAR1_PORT

    def __init__(self, kvm: FakeKvm, index: int) -> None:
        self.kvm = kvm
        self.vm = kvm.create_vm(index)

    def perform(
        self,
        accesses: Sequence[Access],
        *,
        vcpu: int = 0,
        handover: bool = False,
        answer: Callable[[int], bytes] | None = None,
        **_: object,
    ) -> Batch:
        """What came of these accesses."""
        if len(accesses) >= LONG_RUN:
            time.sleep(LONG_RUN_S)
        return self.kvm.run(Run(self.vm, vcpu, answer or all_ones, handover), accesses)

    def close(self) -> None:
        """Close the VM with all that is registered in it."""
        self.kvm.close_vm(self.vm)


class FakeRig(Rig):
    """A rig whose descriptors and machines are a `FakeKvm`'s; its other half is the real one."""

    def __init__(self, kvm: FakeKvm) -> None:
        super().__init__(cast("System", None), FIRST_FD)
        self.kvm = kvm

    def machine(self, vm: int) -> FakeMachine:  # type: ignore[override]
        machines = cast("dict[int, FakeMachine]", self._machines)
        if vm not in machines:
            machines[vm] = FakeMachine(self.kvm, vm)
        return machines[vm]

    def open_fd(self, step: OpenFd) -> None:
        number = NUMBERS[step.kind] if step.kind in NUMBERS else self._free.pop()
        self._fds[step.name] = number
        if step.kind.is_open:
            self.kvm.files[number] = Eventfd(step.kind) if step.kind.is_eventfd else None

    def dup_fd(self, step: DupFd) -> None:
        number = self._free.pop()
        self.kvm.files[number] = self.kvm.files[self._fds[step.of]]
        self._fds[step.name] = number

    def close_fd(self, step: CloseFd) -> None:
        number = self._fds[step.name]
        file = self.kvm.files.pop(number)
        self._free.append(number)
        if file and file not in self.kvm.files.values():
            self.kvm.release(file)

    def close_fds(self) -> None:
        self.kvm.files.clear()
        self._fds.clear()
        self._free = list(self._numbers)

    def fill_fd(self, step: FillFd) -> None:
        self._eventfd(step.name).count = step.count

    def count(self, name: str) -> int:
        eventfd = self._eventfd(name)
        count, eventfd.count = eventfd.count, 0
        return count

    def polls_as_error(self, name: str) -> bool:
        return self._eventfd(name).count == U64

    def _eventfd(self, name: str) -> Eventfd:
        eventfd = self.kvm.files[self._fds[name]]
        if eventfd is None:
            raise AssertionError(f"{name} is no eventfd")
        return eventfd
