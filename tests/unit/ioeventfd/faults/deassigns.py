"""Kernels that remove the wrong registration, or change something where a request fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from errno import EINVAL, ENOENT
from typing import Any, Final

from kvmabi.ioeventfd import promises
from tests.unit.ioeventfd.fake_kvm import (
    CCW,
    DATAMATCH,
    MMIO,
    U64,
    Arg,
    Device,
    Eventfd,
    FakeKvm,
    Vm,
)
from tests.unit.ioeventfd.faults.base import (
    Fault,
    changed,
    low_bytes,
    narrower,
    same_spot,
    wider,
)


def ignoring(field: str, bus: str = "") -> type[FakeKvm]:
    """Return a kernel whose deassign does not compare a field, on one bus or all."""
    faithful = FakeKvm.is_named

    def is_named(self: FakeKvm, device: Device, wanted: Device) -> bool:
        if bus and device.bus != bus:
            return faithful(self, device, wanted)
        return faithful(self, replace(device, **{field: getattr(wanted, field)}), wanted)

    return changed(is_named=is_named)


def deassigning(first: Callable[[FakeKvm, Vm, Arg], int]) -> type[FakeKvm]:
    """Return a kernel whose deassign gives what `first` gives, unless that is 0."""
    faithful = FakeKvm.deassign
    return changed(deassign=lambda self, vm, arg: first(self, vm, arg) or faithful(self, vm, arg))


def answering(verb: str, seen: Sequence[int], instead: int) -> type[FakeKvm]:
    """Return a kernel whose `verb` (assign or deassign) gives `instead` of some errnos."""
    faithful = getattr(FakeKvm, verb)

    def broken(self: FakeKvm, vm: Vm, arg: Arg) -> int:
        answer: int = faithful(self, vm, arg)
        return instead if answer in seen else answer

    return changed(**{verb: broken})


def after_failing(verb: str, then: Callable[[FakeKvm, Vm, Arg], object]) -> type[FakeKvm]:
    """Return a kernel where a failed `verb` changes something all the same."""
    faithful = getattr(FakeKvm, verb)

    def broken(self: FakeKvm, vm: Vm, arg: Arg) -> int:
        answer: int = faithful(self, vm, arg)
        if answer:
            then(self, vm, arg)
        return answer

    return changed(**{verb: broken})


def drop_address(kvm: FakeKvm, vm: Vm, arg: Arg) -> None:
    for each in [each for each in vm.ioeventfds if each.address == arg.addr]:
        FakeKvm.remove(kvm, vm, each)


def drop_address_if_refused(kvm: FakeKvm, vm: Vm, arg: Arg) -> None:
    if kvm.check(arg):
        drop_address(kvm, vm, arg)


def add_anyway(kvm: FakeKvm, vm: Vm, arg: Arg) -> None:
    eventfd = kvm.eventfd_of(arg.fd)
    if isinstance(eventfd, Eventfd):
        FakeKvm.add(kvm, vm, kvm.device(vm, arg, eventfd))


def take_over(kvm: FakeKvm, vm: Vm, arg: Arg) -> None:
    eventfd = kvm.eventfd_of(arg.fd)
    for each in vm.ioeventfds:
        if isinstance(eventfd, Eventfd) and each.address == arg.addr:
            each.eventfd = eventfd


def drain(kvm: FakeKvm, _vm: Vm, arg: Arg) -> None:
    eventfd = kvm.eventfd_of(arg.fd)
    if isinstance(eventfd, Eventfd):
        eventfd.count = 0


def removing(also: Callable[[Vm, Device, int], Any]) -> type[FakeKvm]:
    """Return a kernel whose deassign also removes what `also` gives of those that are left.

    It is given the VM, what is removed, and the index that this had.
    """

    class Broken(FakeKvm):
        def remove(self, vm: Vm, device: Device) -> None:
            index = vm.ioeventfds.index(device)
            super().remove(vm, device)
            for each in list(also(vm, device, index)):
                super().remove(vm, each)

    return Broken


def keeping(when: Callable[[Vm, Device], object]) -> type[FakeKvm]:
    """Return a kernel whose deassign does nothing where `when` says so, and gives 0."""
    faithful = FakeKvm.remove
    return changed(
        remove=lambda self, vm, device: None if when(vm, device) else faithful(self, vm, device)
    )


FAMILIES: Final = ("one-removed", "eventfd-shared", "fd", "pair")
"""Where most of these show."""

DEASSIGNS: Final = (
    *(
        Fault(
            f"deassign ignores the {field}",
            promises.DEASSIGN,
            ignoring(field),
            ("phase", "one-removed", "buses", "ignored-datamatch"),
        )
        for field in ("bus", "eventfd", "address", "length", "wildcard", "datamatch")
    ),
    *(
        Fault(
            f"deassign ignores the {field} on virtio_ccw", promises.DEASSIGN, ignoring(field, CCW)
        )
        for field in ("eventfd", "address", "length", "wildcard", "datamatch")
    ),
    Fault("deassign goes by address alone", promises.DEASSIGN, wider("is_named", same_spot)),
    Fault(
        "deassign compares 32 bits of addresses",
        promises.DEASSIGN,
        changed(
            is_named=lambda self, device, wanted: FakeKvm.is_named(
                self,
                replace(device, address=device.address & 0xFFFF_FFFF),
                replace(wanted, address=wanted.address & 0xFFFF_FFFF),
            )
        ),
    ),
    Fault(
        "deassign compares 32 bits of datamatch",
        promises.DEASSIGN,
        changed(
            is_named=lambda self, device, wanted: FakeKvm.is_named(
                self,
                replace(device, datamatch=device.datamatch & 0xFFFF_FFFF),
                replace(wanted, datamatch=wanted.datamatch & 0xFFFF_FFFF),
            )
        ),
    ),
    Fault(
        "deassign compares datamatch within the width",
        promises.DEASSIGN,
        changed(
            is_named=lambda self, device, wanted: FakeKvm.is_named(
                self,
                replace(device, datamatch=low_bytes(device.datamatch, device.length)),
                replace(wanted, datamatch=low_bytes(wanted.datamatch, device.length)),
            )
        ),
    ),
    Fault(
        "deassign compares a wildcard's datamatch field",
        promises.DEASSIGN,
        narrower("is_named", lambda device, wanted: device.datamatch != wanted.datamatch),
    ),
    Fault(
        "deassign takes virtio_ccw for memory",
        promises.DEASSIGN,
        wider(
            "is_named",
            lambda device, wanted: (
                {device.bus, wanted.bus} == {CCW, MMIO}
                and (device.address, device.length, device.wildcard, device.eventfd)
                == (wanted.address, wanted.length, wanted.wildcard, wanted.eventfd)
            ),
        ),
    ),
    Fault("deassign does nothing", promises.AFTER_DEASSIGN, keeping(lambda *_: True), ("phase",)),
    Fault(
        "deassign of virtio_ccw does nothing",
        promises.DEASSIGN,
        keeping(lambda _vm, device: device.bus == CCW),
    ),
    Fault(
        "deassign of one virtio_ccw of several does nothing",
        promises.DEASSIGN,
        keeping(lambda vm, device: device.bus == CCW and len(vm.buses[CCW]) > 1),
    ),
    Fault(
        "deassign finds no virtio_ccw",
        promises.DEASSIGN,
        narrower("is_named", lambda device, _wanted: device.bus == CCW),
    ),
    Fault(
        "deassign of the last of several does nothing",
        promises.DEASSIGN,
        keeping(lambda vm, device: len(vm.ioeventfds) > 3 and vm.ioeventfds[-1] is device),
    ),
    Fault(
        "deassign of a middle one of many does nothing",
        promises.DEASSIGN,
        keeping(
            lambda vm, device: (
                len(vm.ioeventfds) > 50 and device not in (vm.ioeventfds[0], vm.ioeventfds[-1])
            )
        ),
        ("many",),
    ),
    Fault(
        "deassign of a middle one of many removes two",
        promises.DEASSIGN,
        removing(
            lambda vm, _device, index: (
                vm.ioeventfds[index : index + 1] if len(vm.ioeventfds) > 50 and index else ()
            )
        ),
        ("many",),
    ),
    Fault(
        "deassign removes all of the eventfd",
        promises.DEASSIGN,
        removing(
            lambda vm, device, _: [each for each in vm.ioeventfds if each.eventfd is device.eventfd]
        ),
    ),
    Fault(
        "deassign removes all at the address",
        promises.DEASSIGN,
        removing(lambda vm, device, _: [each for each in vm.ioeventfds if same_spot(each, device)]),
    ),
    Fault(
        "deassign removes the address on all buses",
        promises.DEASSIGN,
        removing(
            lambda vm, device, _: [each for each in vm.ioeventfds if each.address == device.address]
        ),
        ("buses",),
    ),
    Fault(
        "deassign removes the last as well",
        promises.DEASSIGN,
        removing(lambda vm, _device, _index: vm.ioeventfds[-1:]),
    ),
    Fault(
        "deassign judges unknown flags",
        promises.DEASSIGN,
        deassigning(lambda _, _vm, arg: EINVAL if arg.flags & ~0x1F else 0),
        ("flags-deassign",),
    ),
    Fault(
        "deassign judges the length",
        promises.DEASSIGN,
        deassigning(lambda self, _vm, arg: 0 if self.is_length(arg.len) else EINVAL),
        ("length",),
    ),
    Fault(
        "deassign judges the end of the address space",
        promises.DEASSIGN,
        deassigning(lambda _, _vm, arg: EINVAL if arg.addr + arg.len > U64 else 0),
        ("address",),
    ),
    Fault(
        "deassign judges any-length with DATAMATCH",
        promises.DEASSIGN,
        deassigning(lambda _, _vm, arg: EINVAL if not arg.len and arg.flags & DATAMATCH else 0),
        ("flags",),
    ),
    Fault(
        "deassign gives ENOENT before it looks at the descriptor",
        promises.DEASSIGN,
        deassigning(
            lambda _, vm, arg: (
                0 if any(each.address == arg.addr for each in vm.ioeventfds) else ENOENT
            )
        ),
        ("length",),
    ),
    Fault(
        "deassign of nothing gives 0",
        promises.DEASSIGN,
        answering("deassign", [ENOENT], 0),
        ("phase",),
    ),
    Fault(
        "deassign of nothing gives EINVAL",
        promises.DEASSIGN,
        answering("deassign", [ENOENT], EINVAL),
        ("phase",),
    ),
)

FAILURES: Final = (
    Fault(
        "KVM_IOEVENTFD is unknown", promises.ARGUMENTS, changed(ioeventfd=lambda *_: 25), ("match",)
    ),
    Fault(
        "a failed assign registers all the same",
        promises.FAILURE,
        after_failing("assign", add_anyway),
    ),
    Fault(
        "a failed assign removes what is there",
        promises.FAILURE,
        after_failing("assign", drop_address),
    ),
    Fault(
        "an assign whose arguments are refused removes what is there",
        promises.FAILURE,
        after_failing("assign", drop_address_if_refused),
        ("refused-beside",),
    ),
    Fault(
        "a failed assign replaces the eventfd", promises.FAILURE, after_failing("assign", take_over)
    ),
    Fault("a failed assign drains the eventfd", promises.FAILURE, after_failing("assign", drain)),
    Fault(
        "a failed deassign removes the address",
        promises.FAILURE,
        after_failing("deassign", drop_address),
    ),
    Fault(
        "a failed deassign drains the eventfd", promises.FAILURE, after_failing("deassign", drain)
    ),
)

FAULTS: Final = tuple(
    replace(row, families=row.families or FAMILIES) for row in (*DEASSIGNS, *FAILURES)
)
