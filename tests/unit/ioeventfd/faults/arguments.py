"""Kernels that judge the arguments and the descriptor of an assign wrongly."""

from __future__ import annotations

from collections.abc import Callable
from errno import EBADF, EEXIST, EINVAL, ENOSPC
from typing import Final

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


def limited(count: int) -> type[FakeKvm]:
    """Return a kernel with room for so many devices a bus, coalesced zones included."""
    faithful = FakeKvm.add

    def add(self: FakeKvm, vm: Vm, device: Device) -> int:
        if vm.zones + len(vm.buses[device.bus]) >= count:
            return ENOSPC
        return faithful(self, vm, device)

    return changed(add=add)


FAULTS: Final = (
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
