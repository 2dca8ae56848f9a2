"""Kernels that count wrongly, or forget or keep too much: eventfds, re-use, VMs and vCPUs."""

from __future__ import annotations

from collections.abc import Callable
from errno import EBUSY
from typing import Final

from kvmabi.errors import GuestTimeout
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.steps import FdKind
from tests.unit.ioeventfd.fake_kvm import U64, Arg, Device, Eventfd, FakeKvm, Run, Vm
from tests.unit.ioeventfd.faults.base import Fault, changed, forgetting, siblings

HALF: Final = 1 << 32


def counting(count: Callable[[int], int], kind: FdKind | None = None) -> type[FakeKvm]:
    """Return a kernel whose signal turns a count into another one, for one kind of eventfd."""
    faithful = FakeKvm.signal

    def signal(self: FakeKvm, eventfd: Eventfd) -> None:
        if kind not in (None, eventfd.kind):
            faithful(self, eventfd)
            return
        with eventfd.lock:
            eventfd.count = count(eventfd.count)

    return changed(signal=signal)


def up(count: int) -> int:
    return min(count + 1, U64)


def at_assign(then: Callable[[FakeKvm, Eventfd], object]) -> type[FakeKvm]:
    """Return a kernel whose assign does something to the eventfd."""

    class Broken(FakeKvm):
        def add(self, vm: Vm, device: Device) -> int:
            then(self, device.eventfd)
            return super().add(vm, device)

    return Broken


def at_deassign(then: Callable[[FakeKvm, Eventfd], object]) -> type[FakeKvm]:
    """Return a kernel whose deassign does something to the eventfd."""

    class Broken(FakeKvm):
        def remove(self, vm: Vm, device: Device) -> None:
            then(self, device.eventfd)
            super().remove(vm, device)

    return Broken


def empty(_kvm: FakeKvm, eventfd: Eventfd) -> None:
    eventfd.count = 0


class BlocksAtMaximum(FakeKvm):
    def signal(self, eventfd: Eventfd) -> None:
        if eventfd.count >= U64 - 1:
            raise GuestTimeout("the vCPU waits for the eventfd", seconds=5)
        super().signal(eventfd)


class ReleaseDeassigns(FakeKvm):
    def release(self, eventfd: Eventfd) -> None:
        for vm in self.vms:
            for device in [each for each in vm.ioeventfds if each.eventfd is eventfd]:
                self.remove(vm, device)


class Ghosts(FakeKvm):
    """What is deassigned takes one more write."""

    alone = True

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.ghosts: dict[Vm, list[Device]] = {}

    def remove(self, vm: Vm, device: Device) -> None:
        super().remove(vm, device)
        if self.alone or vm.ioeventfds:
            self.ghosts.setdefault(vm, []).append(device)

    def find(self, run: Run, bus: str, address: int, data: bytes) -> list[Device]:
        found = super().find(run, bus, address, data)
        ghosts = self.ghosts.get(run.vm, [])
        for ghost in () if found else list(ghosts):
            if (ghost.bus, ghost.address) == (bus, address) and self.in_range(ghost, data):
                ghosts.remove(ghost)
                return [ghost]
        return found


class GhostsInCompany(Ghosts):
    alone = False


def shape(device: Device) -> tuple[object, ...]:
    return device.bus, device.address, device.length, device.wildcard, device.datamatch


class Remembering(FakeKvm):
    """What is assigned again finds what was there before."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.gone: dict[tuple[object, ...], Eventfd] = {}

    def create_vm(self, index: int) -> Vm:
        self.gone.clear()
        return super().create_vm(index)

    def remove(self, vm: Vm, device: Device) -> None:
        super().remove(vm, device)
        self.gone[shape(device)] = device.eventfd


class AssignedAgainIsDead(Remembering):
    def find(self, run: Run, bus: str, address: int, data: bytes) -> list[Device]:
        found = super().find(run, bus, address, data)
        return [each for each in found if shape(each) not in self.gone]


class AssignedAgainForTheOldEventfd(Remembering):
    def add(self, vm: Vm, device: Device) -> int:
        device.eventfd = self.gone.get(shape(device), device.eventfd)
        return super().add(vm, device)


class VmsLeaveTheirDevices(FakeKvm):
    left: tuple[int, Vm] | None = None

    def create_vm(self, index: int) -> Vm:
        vm = super().create_vm(index)
        if self.left and self.left[0] == index:
            vm.ioeventfds, vm.buses = self.left[1].ioeventfds, self.left[1].buses
        self.left = None
        return vm

    def close_vm(self, vm: Vm) -> None:
        super().close_vm(vm)
        self.left = vm.index, vm


class VmsShareDevices(FakeKvm):
    def create_vm(self, index: int) -> Vm:
        vm = super().create_vm(index)
        vm.ioeventfds, vm.buses = self.vms[0].ioeventfds, self.vms[0].buses
        return vm


class CloseTakesSharedEventfds(FakeKvm):
    def close_vm(self, vm: Vm) -> None:
        super().close_vm(vm)
        eventfds = {device.eventfd for device in vm.ioeventfds}
        for other in self.vms:
            for device in [each for each in other.ioeventfds if each.eventfd in eventfds]:
                self.remove(other, device)


class OneVmEach(FakeKvm):
    def assign(self, vm: Vm, arg: Arg) -> int:
        eventfd = self.eventfd_of(arg.fd)
        others = [each for other in self.vms if other is not vm for each in other.ioeventfds]
        if any(each.eventfd is eventfd for each in others):
            return EBUSY
        return super().assign(vm, arg)


class Vcpu1IgnoresDatamatch(FakeKvm):
    def find(self, run: Run, bus: str, address: int, data: bytes) -> list[Device]:
        found = super().find(run, bus, address, data)
        if found or run.vcpu == 0:
            return found
        at = self.candidates(run.vm, bus, address)
        return [each for each in at if each.length == len(data)][:1]


class LosesOneOfMany(FakeKvm):
    """Of so many writes of vCPU 1, one is taken and signals nothing."""

    every = 48
    seen = 0

    def bus_write(self, run: Run, bus: str, address: int, data: bytes) -> bool:
        if run.vcpu and self.find(run, bus, address, data):
            self.seen += 1
            if self.seen % self.every == 0:
                return True
        return super().bus_write(run, bus, address, data)


EVENTFDS: Final = (
    Fault(
        "a signal adds 2",
        promises.SIGNAL,
        counting(lambda count: up(up(count))),
        families=("match",),
    ),
    Fault("a signal adds nothing", promises.SIGNAL, counting(lambda count: count), ("match",)),
    Fault(
        "a signal sets the count to 1", promises.SIGNAL, counting(lambda _: 1), ("match", "eventfd")
    ),
    Fault(
        "a full count starts again",
        promises.SATURATION,
        counting(lambda count: count + 1 & U64),
        ("eventfd",),
    ),
    Fault(
        "a count stops below its maximum",
        promises.SATURATION,
        counting(lambda count: min(count + 1, U64 - 1)),
        ("eventfd",),
    ),
    Fault(
        "a count stops two below its maximum",
        promises.SATURATION,
        counting(lambda count: count if count >= U64 - 2 else count + 1),
        ("eventfd",),
    ),
    Fault("a full count blocks the vCPU", promises.SATURATION, BlocksAtMaximum, ("eventfd",)),
    Fault(
        "a count wraps in its low 8 bits",
        promises.SIGNAL,
        counting(lambda count: count & ~0xFF | count + 1 & 0xFF),
        ("eventfd",),
    ),
    Fault(
        "a count wraps in its low 16 bits",
        promises.SIGNAL,
        counting(lambda count: count & ~0xFFFF | count + 1 & 0xFFFF),
        ("eventfd",),
    ),
    Fault(
        "a count wraps in its low 32 bits",
        promises.SIGNAL,
        counting(lambda count: count if count == U64 else count & -HALF | (count + 1) % HALF),
        ("eventfd",),
    ),
    Fault(
        "a count stops at 2^32",
        promises.SIGNAL,
        counting(lambda count: count if count in (HALF - 1, HALF) else up(count)),
        ("eventfd",),
    ),
    Fault(
        "a count stops at 2^63",
        promises.SIGNAL,
        counting(lambda count: count if count == 1 << 63 else up(count)),
        ("eventfd",),
    ),
    Fault(
        "a semaphore gets no signal",
        promises.SIGNAL,
        counting(lambda count: count, FdKind.SEMAPHORE),
        ("eventfd",),
    ),
    Fault(
        "a semaphore counts to 1",
        promises.SIGNAL,
        counting(lambda _: 1, FdKind.SEMAPHORE),
        ("eventfd",),
    ),
    Fault(
        "a semaphore counts to 3",
        promises.SIGNAL,
        counting(lambda count: min(count + 1, 3), FdKind.SEMAPHORE),
        ("eventfd",),
    ),
    Fault(
        "a full semaphore starts again",
        promises.SATURATION,
        counting(lambda count: count + 1 & U64, FdKind.SEMAPHORE),
        ("eventfd",),
    ),
    Fault(
        "a semaphore stops below its maximum",
        promises.SATURATION,
        counting(lambda count: min(count + 1, U64 - 1), FdKind.SEMAPHORE),
        ("eventfd",),
    ),
    Fault(
        "a blocking eventfd gets no signal",
        promises.SIGNAL,
        counting(lambda count: count, FdKind.EVENTFD),
        ("eventfd",),
    ),
    Fault("assign signals", promises.SIGNAL, at_assign(FakeKvm.signal), ("match",)),
    Fault("assign empties the eventfd", promises.SIGNAL, at_assign(empty), ("eventfd",)),
    Fault("deassign signals", promises.AFTER_DEASSIGN, at_deassign(FakeKvm.signal), ("phase",)),
    Fault("deassign empties the eventfd", promises.DEASSIGN, at_deassign(empty), ("eventfd",)),
)

LIVES: Final = (
    Fault(
        "closing the descriptor deassigns",
        promises.LIFETIME,
        ReleaseDeassigns,
        ("eventfd", "teardown"),
    ),
    Fault("a deassigned one takes another write", promises.AFTER_DEASSIGN, Ghosts, ("phase",)),
    Fault(
        "a deassigned one of several takes another write",
        promises.AFTER_DEASSIGN,
        GhostsInCompany,
        ("one-removed",),
    ),
    Fault("assigned again, it takes nothing", promises.SIGNAL, AssignedAgainIsDead, ("phase",)),
    Fault(
        "assigned again, it signals the old eventfd",
        promises.SIGNAL,
        AssignedAgainForTheOldEventfd,
        ("phase",),
    ),
    Fault(
        "a closed VM leaves its registrations",
        promises.LIFETIME,
        VmsLeaveTheirDevices,
        ("teardown",),
    ),
    Fault(
        "closing a VM takes its eventfds from others",
        promises.LIFETIME,
        CloseTakesSharedEventfds,
        ("vms",),
    ),
    Fault("VMs share their registrations", promises.MATCH, VmsShareDevices, ("vms",)),
    Fault("an eventfd belongs to one VM", promises.ARGUMENTS, OneVmEach, ("vms",)),
)

VCPUS: Final = (
    Fault(
        "vCPU 1 signals nothing",
        promises.CONCURRENCY,
        forgetting(lambda _, run: run.vcpu == 1),
        ("vcpus",),
    ),
    Fault("vCPU 1 ignores datamatch", promises.DATAMATCH, Vcpu1IgnoresDatamatch, ("vcpus",)),
    Fault(
        "vCPU 1 sees the first at an address",
        promises.SHARING,
        forgetting(lambda device, run: run.vcpu and siblings(device, run)[0] is not device),
        ("vcpus",),
    ),
    Fault(
        "vCPU 1 takes no any-length",
        promises.SIGNAL,
        forgetting(lambda device, run: run.vcpu and not device.length),
        ("vcpus",),
    ),
    Fault("one of 48 signals of vCPU 1 is lost", promises.CONCURRENCY, LosesOneOfMany, ("vcpus",)),
)

FAULTS: Final = (*EVENTFDS, *LIVES, *VCPUS)
