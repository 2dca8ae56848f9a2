"""What a whole case must show: the contract applied to its named descriptors and its VMs."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

from kvmabi import uapi
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.contract import (
    Answer,
    Bus,
    Eventfd,
    ExpectedExit,
    Kernel,
    Reaction,
    Registration,
    Request,
    VmContract,
)
from kvmabi.ioeventfd.steps import (
    Access,
    CloseFd,
    DupFd,
    FillFd,
    GuestRun,
    Ioeventfd,
    Layout,
    OpenFd,
    ReplaceVm,
    Together,
)

PROPOSED_PV_MMIO = uapi.KVM_IOEVENTFD_FLAG_PV_MMIO
"""The bit that the overlay gives PV_MMIO: what to try on a kernel that has none."""


WIDEST_PROMISED = 8
"""Wider accesses (in bytes) are outside the contract: only that the guest goes on is expected."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What one guest run must cause: per access its reaction, in order; None is unpromised."""

    reactions: tuple[Reaction | None, ...]

    @property
    def promised(self) -> bool:
        """Whether the contract speaks about all of the run."""
        return None not in self.reactions

    def exits(self) -> list[tuple[int, ExpectedExit]]:
        """Return all exits in order, each with the index of the access that causes it."""
        return [
            (index, each)
            for index, reaction in enumerate(self.reactions)
            if reaction is not None
            for each in reaction.exits
        ]


class Oracle:
    """The expected course of one case: feed it each step, in order, and ask for the counts."""

    def __init__(self, kernel: Kernel, layout: Layout) -> None:
        self.kernel = kernel
        self.layout = layout
        self.vms: dict[int, VmContract] = {}
        self.fds: dict[str, Eventfd | int] = {}
        self._assigned: dict[tuple[int, Registration], Ioeventfd] = {}

    def vm(self, index: int) -> VmContract:
        """Return the contract state of one of the case's VMs."""
        return self.vms.setdefault(index, VmContract(self.kernel))

    def replace_vm(self, step: ReplaceVm) -> None:
        """Forget the registrations of a VM that was closed."""
        self.vms.pop(step.vm, None)

    def open_fd(self, step: OpenFd) -> None:
        """Note what a new descriptor refers to."""
        if step.kind.is_eventfd:
            self.fds[step.name] = Eventfd()
        else:
            self.fds[step.name] = errno.EINVAL if step.kind.is_open else errno.EBADF

    def dup_fd(self, step: DupFd) -> None:
        """Note a second name for the same object."""
        self.fds[step.name] = self.fds[step.of]

    def close_fd(self, step: CloseFd) -> None:
        """Note that a name is a closed descriptor from now on."""
        self.fds[step.name] = errno.EBADF

    def fill_fd(self, step: FillFd) -> None:
        """Note a count that user space wrote."""
        eventfd = self.fds[step.name]
        if isinstance(eventfd, Eventfd):
            eventfd.count = step.count

    def flags(self, step: Ioeventfd) -> int:
        """Return the flags that the kernel under test is given."""
        pv_mmio = self.kernel.pv_mmio or PROPOSED_PV_MMIO
        return step.flags | (pv_mmio if step.pv_mmio else 0)

    def ioeventfd(self, step: Ioeventfd) -> Answer:
        """Return what one KVM_IOEVENTFD must answer."""
        request = Request(
            addr=self.layout.resolve(step.place),
            len=step.len,
            flags=self.flags(step),
            datamatch=step.datamatch,
            eventfd=self.fds[step.fd],
        )
        vm = self.vm(step.vm)
        answer = vm.ioeventfd(request)
        if not answer.errno and not step.is_deassign and vm.newest:
            self._assigned[step.vm, vm.newest] = step
        return answer

    def left_over(self) -> list[Ioeventfd | None]:
        """Return the deassigns of all that is still registered; None where no fd is left for it."""
        names = {eventfd: name for name, eventfd in self.eventfds().items()}
        left: list[Ioeventfd | None] = []
        for index, vm in self.vms.items():
            for registration in vm.registrations():
                name = names.get(registration.eventfd)
                step = self._assigned[index, registration].deassign()
                left.append(replace(step, fd=name) if name else None)
        return left

    def guest_run(self, step: GuestRun) -> Expected:
        """Return what one vCPU's accesses must cause."""
        vm = self.vm(step.vm)
        return Expected(tuple(self._access(vm, access) for access in step.accesses))

    def together(self, step: Together) -> list[Expected]:
        """Return what concurrent runs must cause: their order changes nothing (promise 13)."""
        return [self.guest_run(run) for run in step.runs]

    def _access(self, vm: VmContract, access: Access) -> Reaction | None:
        if access.width > WIDEST_PROMISED:
            return None
        address = self.layout.resolve(access.place)
        stride = access.width if access.string and access.bus is Bus.MMIO else 0
        elements = [
            self._element(vm, access, address + index * stride, value)
            for index, value in enumerate(access.values)
        ]
        if len(elements) == 1:
            return elements[0]
        return Reaction(
            signals=tuple(event for element in elements for event in element.signals),
            exits=tuple(each for element in elements for each in element.exits),
            promise=promises.ELEMENTS if access.write else promises.READ,
        )

    @staticmethod
    def _element(vm: VmContract, access: Access, address: int, value: int) -> Reaction:
        if access.write:
            return vm.write(access.bus, address, access.width, value)
        return vm.read(access.bus, address, access.width)

    def eventfds(self) -> dict[str, Eventfd]:
        """Return the eventfds that the case can still read, by name; dups under each name."""
        return {name: fd for name, fd in self.fds.items() if isinstance(fd, Eventfd)}
