"""Kernels that answer KVM_IOEVENTFD wrongly: its arguments, descriptors, clashes and deassigns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from errno import EBADF, EEXIST, EINVAL, ENOENT, ENOSPC
from typing import Any, Final

from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.steps import FdKind
from tests.unit.ioeventfd.fake_kvm import (
    CCW,
    DATAMATCH,
    MMIO,
    PIO,
    U64,
    Arg,
    Device,
    Eventfd,
    FakeKvm,
    Vm,
)
from tests.unit.ioeventfd.faults.base import (
    MMIO_ONLY,
    WITHOUT_CAPABILITIES,
    Fault,
    changed,
    narrower,
    wider,
)

ON_PIO: Final = 1 << 1
ON_CCW: Final = 1 << 3


def judging(change: Callable[[Arg], Arg]) -> type[FakeKvm]:
    """Return a kernel that judges changed arguments, and carries out the real ones."""
    faithful = FakeKvm.check
    return changed(check=lambda self, arg: faithful(self, change(arg)))


def refusing(when: Callable[[Arg], object]) -> type[FakeKvm]:
    """Return a kernel whose assign also gives EINVAL where `when` says so."""
    faithful = FakeKvm.check
    return changed(check=lambda self, arg: EINVAL if when(arg) else faithful(self, arg))


def accepting_flags(*bits: int) -> type[FakeKvm]:
    """Return a kernel that takes exactly these unknown flag bits, together."""
    more = sum(1 << bit for bit in bits)
    known = 0x1F
    return judging(
        lambda arg: arg._replace(flags=arg.flags & known) if arg.flags & ~known == more else arg
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


def clash_first(kvm: FakeKvm, vm: Vm, arg: Arg, *, checked: bool) -> int:
    """Judge the clash before the descriptor, or before the arguments too."""
    new = kvm.device(vm, arg, Eventfd(FdKind.EVENTFD))
    if (not checked or not kvm.check(arg)) and any(kvm.collides(old, new) for old in vm.ioeventfds):
        return EEXIST
    return FakeKvm.assign(kvm, vm, arg)


class DescriptorFirst(FakeKvm):
    def assign(self, vm: Vm, arg: Arg) -> int:
        eventfd = self.eventfd_of(arg.fd)
        return eventfd if isinstance(eventfd, int) else super().assign(vm, arg)


class NoSemaphores(FakeKvm):
    def eventfd_of(self, fd: int) -> Eventfd | int:
        eventfd = super().eventfd_of(fd)
        if isinstance(eventfd, Eventfd) and eventfd.kind is FdKind.SEMAPHORE:
            return EINVAL
        return eventfd


class OneErrno(FakeKvm):
    errno: int

    def eventfd_of(self, fd: int) -> Eventfd | int:
        eventfd = super().eventfd_of(fd)
        return self.errno if isinstance(eventfd, int) else eventfd


class AlwaysBadf(OneErrno):
    errno = EBADF


class AlwaysInval(OneErrno):
    errno = EINVAL


def same_spot(old: Device, new: Device) -> bool:
    return (old.bus, old.address) == (new.bus, new.address)


def both_datamatch(old: Device, new: Device) -> bool:
    return same_spot(old, new) and not old.wildcard and not new.wildcard


def overlaps(old: Device, new: Device) -> bool:
    return (
        old.bus == new.bus
        and old.address < new.address + max(new.length, 1)
        and new.address < old.address + max(old.length, 1)
        and old.address != new.address
    )


def other_bus(old: Device, new: Device, buses: set[str]) -> bool:
    return {old.bus, new.bus} == buses and old.address == new.address


def mixed_length(old: Device, new: Device) -> bool:
    return (old.length == 0) != (new.length == 0)


def low_bytes(value: int, length: int) -> int:
    return value & (1 << 8 * length) - 1


def limited(count: int) -> type[FakeKvm]:
    """Return a kernel with room for so many devices a bus, coalesced zones included."""
    faithful = FakeKvm.add

    def add(self: FakeKvm, vm: Vm, device: Device) -> int:
        if vm.zones + len(vm.buses[device.bus]) >= count:
            return ENOSPC
        return faithful(self, vm, device)

    return changed(add=add)


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


ARGUMENTS: Final = (
    *(
        Fault(
            f"length {length:#x} accepted",
            promises.ARGUMENTS,
            wider("is_length", lambda each, length=length: each == length),
            ("length",),
        )
        for length in (
            3,
            5,
            6,
            7,
            9,
            10,
            12,
            15,
            16,
            24,
            32,
            64,
            128,
            255,
            256,
            0x104,
            0x108,
            4096,
            0x10000,
            0x10004,
            1 << 24,
            1 << 31,
            (1 << 32) - 1,
        )
    ),
    Fault(
        "length cut to 8 bits",
        promises.ARGUMENTS,
        judging(lambda arg: arg._replace(len=arg.len & 0xFF)),
        ("length",),
    ),
    Fault(
        "length cut to 16 bits",
        promises.ARGUMENTS,
        judging(lambda arg: arg._replace(len=arg.len & 0xFFFF)),
        ("length",),
    ),
    Fault(
        "length cut to 31 bits",
        promises.ARGUMENTS,
        judging(lambda arg: arg._replace(len=arg.len & 0x7FFF_FFFF)),
        ("length",),
    ),
    Fault(
        "any power of two is a length",
        promises.ARGUMENTS,
        wider("is_length", lambda length: length & (length - 1) == 0),
        ("length",),
    ),
    Fault(
        "the end of the address space is not looked at",
        promises.ARGUMENTS,
        judging(lambda arg: arg._replace(addr=0)),
        ("address",),
    ),
    Fault(
        "a range may reach 2^64",
        promises.ARGUMENTS,
        judging(lambda arg: arg._replace(addr=arg.addr - (arg.addr + arg.len == U64 + 1))),
        ("address",),
    ),
    Fault(
        "a range must end a byte earlier",
        promises.ARGUMENTS,
        refusing(lambda arg: arg.len and arg.addr + arg.len == U64),
        ("address",),
    ),
    Fault(
        "any-length refused at the top",
        promises.ARGUMENTS,
        refusing(lambda arg: arg.addr + arg.len >= U64),
        ("address",),
    ),
    Fault(
        "high addresses refused",
        promises.ARGUMENTS,
        refusing(lambda arg: arg.addr >> 52),
        ("address",),
    ),
    Fault(
        "ports beyond 16 bits refused",
        promises.ARGUMENTS,
        refusing(lambda arg: arg.flags & ON_PIO and arg.addr >> 16),
        ("wide-port",),
    ),
    Fault(
        "unaligned refused",
        promises.ARGUMENTS,
        refusing(lambda arg: arg.len and arg.addr % arg.len),
        ("unaligned",),
    ),
    Fault(
        "8 bytes refused on ports",
        promises.ARGUMENTS,
        refusing(lambda arg: arg.flags & ON_PIO and arg.len == 8),
        ("flags",),
    ),
    Fault(
        "virtio_ccw refused",
        promises.ARGUMENTS,
        refusing(lambda arg: arg.flags & ON_CCW),
        ("flags",),
    ),
    Fault(
        "any-length virtio_ccw refused",
        promises.ARGUMENTS,
        refusing(lambda arg: arg.flags & ON_CCW and not arg.len),
        ("flags",),
    ),
    Fault(
        "two buses refused",
        promises.ARGUMENTS,
        refusing(lambda arg: arg.flags & ON_CCW and arg.flags & ON_PIO),
        ("flags",),
    ),
    Fault(
        "virtio_ccw wins over ports",
        promises.MATCH,
        changed(bus_of=lambda _, flags: CCW if flags & ON_CCW else PIO if flags & ON_PIO else MMIO),
        ("flags",),
    ),
    Fault(
        "bit 4 refused", promises.ARGUMENTS, refusing(lambda arg: arg.flags & 1 << 4), ("flags",)
    ),
    Fault(
        "datamatch above the width refused",
        promises.DATAMATCH,
        refusing(lambda arg: arg.flags & DATAMATCH and arg.len and arg.datamatch >> 8 * arg.len),
    ),
    Fault(
        "any-length with DATAMATCH accepted",
        promises.ARGUMENTS,
        judging(lambda arg: arg if arg.len else arg._replace(flags=arg.flags & ~DATAMATCH)),
        ("flags",),
    ),
    *(
        Fault(f"flag bit {bit} accepted", promises.ARGUMENTS, accepting_flags(bit), ("flags",))
        for bit in range(5, 32)
    ),
    *(
        Fault(
            f"flag bits {low} and {high} accepted together",
            promises.ARGUMENTS,
            accepting_flags(low, high),
            ("flags",),
        )
        for low, high in (
            (5, 6),
            (5, 7),
            (6, 7),
            (5, 8),
            (8, 9),
            (5, 31),
            (12, 20),
            (15, 16),
            (30, 31),
        )
    ),
    Fault(
        "any-length without the capability",
        promises.ANY_LENGTH,
        wider("takes_any_length", lambda flags: not flags & DATAMATCH),
        ("flags",),
        WITHOUT_CAPABILITIES,
    ),
    Fault(
        "any-length on ports by NO_LENGTH",
        promises.ANY_LENGTH,
        wider("takes_any_length", lambda flags: not flags & DATAMATCH),
        ("flags",),
        MMIO_ONLY,
    ),
    Fault(
        "the descriptor judged before the arguments",
        promises.ARGUMENTS,
        DescriptorFirst,
        ("length",),
    ),
    Fault(
        "the clash judged before the descriptor",
        promises.ARGUMENTS,
        changed(assign=lambda self, vm, arg: clash_first(self, vm, arg, checked=True)),
        ("fd",),
    ),
    Fault(
        "the clash judged before the arguments",
        promises.ARGUMENTS,
        changed(assign=lambda self, vm, arg: clash_first(self, vm, arg, checked=False)),
    ),
    Fault("EBADF for every wrong descriptor", promises.ARGUMENTS, AlwaysBadf, ("fd",)),
    Fault("EINVAL for every wrong descriptor", promises.ARGUMENTS, AlwaysInval, ("fd",)),
    Fault("semaphores refused", promises.ARGUMENTS, NoSemaphores, ("eventfd",)),
    *(
        Fault(f"room for {count} devices", promises.MATCH, limited(count), ("many",))
        for count in (3, 300, 999, 1000, 1199)
    ),
)

CLASHES: Final = (
    Fault("no clash", promises.CLASH, changed(collides=lambda *_: False), ("phase",)),
    Fault("a clash by address alone", promises.SHARING, wider("collides", same_spot)),
    Fault(
        "a clash of overlapping ranges",
        promises.SHARING,
        wider("collides", overlaps),
        ("neighbours",),
    ),
    Fault(
        "a clash of ports with memory",
        promises.SHARING,
        wider("collides", lambda old, new: other_bus(old, new, {MMIO, PIO})),
        ("buses",),
    ),
    Fault(
        "a clash of virtio_ccw with memory",
        promises.SHARING,
        wider("collides", lambda old, new: other_bus(old, new, {MMIO, CCW})),
        ("buses",),
    ),
    Fault(
        "no clash of equals on virtio_ccw",
        promises.CLASH,
        narrower("collides", lambda old, _new: old.bus == CCW),
    ),
    Fault(
        "no clash with any-length on virtio_ccw",
        promises.CLASH,
        narrower("collides", lambda old, new: old.bus == CCW and mixed_length(old, new)),
    ),
    Fault(
        "no clash with a wildcard on virtio_ccw",
        promises.CLASH,
        narrower("collides", lambda old, new: old.bus == CCW and old.wildcard != new.wildcard),
    ),
    Fault(
        "a clash by address alone on virtio_ccw",
        promises.SHARING,
        wider("collides", lambda old, new: old.bus == CCW and same_spot(old, new)),
    ),
    Fault(
        "no clash of two eventfds",
        promises.CLASH,
        narrower("collides", lambda old, new: old.eventfd is not new.eventfd),
    ),
    Fault(
        "no clash of one eventfd",
        promises.CLASH,
        narrower("collides", lambda old, new: old.eventfd is new.eventfd),
    ),
    Fault(
        "a clash of one eventfd at one address",
        promises.SHARING,
        wider("collides", lambda old, new: same_spot(old, new) and old.eventfd is new.eventfd),
    ),
    Fault(
        "a clash of one eventfd on one bus",
        promises.SHARING,
        wider("collides", lambda old, new: old.bus == new.bus and old.eventfd is new.eventfd),
    ),
    Fault(
        "a clash of datamatches equal in 32 bits",
        promises.SHARING,
        wider(
            "collides",
            lambda old, new: (
                both_datamatch(old, new)
                and old.length == new.length
                and not (old.datamatch ^ new.datamatch) & 0xFFFF_FFFF
            ),
        ),
    ),
    Fault(
        "a clash of datamatches equal within the width",
        promises.SHARING,
        wider(
            "collides",
            lambda old, new: (
                both_datamatch(old, new)
                and old.length == new.length
                and low_bytes(old.datamatch ^ new.datamatch, old.length) == 0
            ),
        ),
    ),
    Fault(
        "a clash of datamatches above the width",
        promises.SHARING,
        wider(
            "collides",
            lambda old, new: (
                both_datamatch(old, new)
                and old.length == new.length
                and (old.datamatch | new.datamatch) >> 8 * old.length
            ),
        ),
    ),
    Fault(
        "a clash of one datamatch at two lengths",
        promises.SHARING,
        wider(
            "collides", lambda old, new: both_datamatch(old, new) and old.datamatch == new.datamatch
        ),
    ),
    Fault(
        "a clash of a wildcard with a datamatch of another length",
        promises.SHARING,
        wider("collides", lambda old, new: same_spot(old, new) and old.wildcard != new.wildcard),
    ),
    Fault(
        "no clash of wildcard and datamatch",
        promises.CLASH,
        narrower("collides", lambda old, new: old.wildcard != new.wildcard),
    ),
    Fault(
        "no clash of a new wildcard",
        promises.CLASH,
        narrower("collides", lambda old, new: new.wildcard and not old.wildcard),
    ),
    Fault(
        "no clash of a new datamatch",
        promises.CLASH,
        narrower("collides", lambda old, new: old.wildcard and not new.wildcard),
    ),
    Fault(
        "no clash of any-length with a length", promises.CLASH, narrower("collides", mixed_length)
    ),
    Fault(
        "no clash of a new any-length with a datamatch",
        promises.CLASH,
        narrower("collides", lambda old, new: not new.length and not old.wildcard),
    ),
    Fault(
        "no clash of an old any-length with a datamatch",
        promises.CLASH,
        narrower("collides", lambda old, new: not old.length and not new.wildcard),
    ),
    Fault(
        "no clash of wildcards whose datamatch fields differ",
        promises.CLASH,
        narrower(
            "collides",
            lambda old, new: old.wildcard and new.wildcard and old.datamatch != new.datamatch,
        ),
    ),
    Fault(
        "a clash with the first registration alone",
        promises.CLASH,
        changed(rivals=lambda _, vm: vm.ioeventfds[:1]),
    ),
    Fault(
        "a clash with the last registration alone",
        promises.CLASH,
        changed(rivals=lambda _, vm: vm.ioeventfds[-1:]),
    ),
    Fault(
        "a clash with the first two alone",
        promises.CLASH,
        changed(rivals=lambda _, vm: vm.ioeventfds[:2]),
    ),
    Fault(
        "a clash with the last two alone",
        promises.CLASH,
        changed(rivals=lambda _, vm: vm.ioeventfds[-2:]),
    ),
    Fault(
        "a clash with all but the middle",
        promises.CLASH,
        changed(rivals=lambda _, vm: [*vm.ioeventfds[:1], *vm.ioeventfds[1:][-1:]]),
    ),
    Fault(
        "a clash with other VMs",
        promises.SHARING,
        changed(rivals=lambda self, _vm: [each for vm in self.vms for each in vm.ioeventfds]),
        ("vms",),
    ),
)

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

FAULTS: Final = (*ARGUMENTS, *CLASHES, *DEASSIGNS, *FAILURES)
