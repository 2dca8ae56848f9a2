"""What the families of cases share: subjects, values, ids, and the usual steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from kvmabi import uapi
from kvmabi.ioeventfd.contract import BUS_FLAGS, Bus
from kvmabi.ioeventfd.steps import (
    Access,
    Base,
    Case,
    FdKind,
    GuestRun,
    Ioeventfd,
    OpenFd,
    Place,
    Step,
)

DATAMATCH: Final = uapi.KVM_IOEVENTFD_FLAG_DATAMATCH
GUEST_BUSES: Final = (Bus.MMIO, Bus.PIO)
LENGTHS: Final = (0, 1, 2, 4, 8)
WIDTHS: Final = {Bus.MMIO: (1, 2, 4, 8), Bus.PIO: (1, 2, 4)}
SPOT: Final = {
    Bus.MMIO: Place(Base.BAR0, 2048),
    Bus.PIO: Place(Base.BAR1, 128),
    Bus.VIRTIO_CCW: Place(Base.BAR0, 2048),
}
"""Where registrations go: the middle of the page, or of the ports, far from the header."""
PATTERN: Final = 0x1122334455667718
"""A value whose bytes are all different, none with its top bit set."""
OTHER: Final = 0x0A0B0C0D0E0F0102
"""A value that differs from PATTERN in every byte."""
FIRST: Final = "e"
"""The name of a case's first eventfd."""
OPEN_FIRST: Final = OpenFd(FIRST, FdKind.NONBLOCKING)


def low_bytes(value: int, width: int) -> int:
    """Return the low `width` bytes of `value`."""
    return value & (1 << 8 * width) - 1


def join(*parts: object) -> str:
    """Return a case id of its parameters; empty parts are left out."""
    return "-".join(str(part) for part in parts if part != "")


def signed(offset: int) -> str:
    """Return an offset as a part of an id: "at0", "up4", "down1"."""
    if offset == 0:
        return "at0"
    return f"up{offset}" if offset > 0 else f"down{-offset}"


@dataclass(frozen=True, slots=True)
class Subject:
    """The registration that a case is about; `datamatch` is None for a wildcard."""

    bus: Bus
    len: int
    datamatch: int | None = None
    pv_mmio: bool = False

    def request(self, place: Place | None = None, *, fd: str = FIRST, vm: int = 0) -> Ioeventfd:
        """Return the KVM_IOEVENTFD that assigns it, at `place` or the bus's usual spot."""
        return Ioeventfd(
            place=place or SPOT[self.bus],
            len=self.len,
            flags=BUS_FLAGS[self.bus] | (0 if self.datamatch is None else DATAMATCH),
            datamatch=self.datamatch or 0,
            fd=fd,
            vm=vm,
            pv_mmio=self.pv_mmio,
        )


@dataclass(frozen=True, slots=True)
class Values:
    """A datamatch (None for a wildcard) beside a value that a guest writes, and what it tries."""

    label: str
    datamatch: int | None
    written: int


def values_for(length: int, width: int) -> Iterator[Values]:
    """Yield what is worth writing, `width` bytes wide, at a registration of `length` bytes."""
    value = low_bytes(PATTERN, width)
    yield Values("any", None, value)
    if length == 0:
        return
    yield Values("equal", value, value)
    if length != width:
        return
    for index in range(width):
        yield Values(f"byte{index}", value ^ 0x40 << 8 * index, value)
    negative = value | 1 << 8 * width - 1
    ones = low_bytes(-1, width)
    yield Values("topbit", negative, negative)
    yield Values("zero", 0, 0)
    yield Values("ones", ones, ones)
    if width < 8:
        yield Values("above", value | 1 << 8 * width, value)
        yield Values("above63", value | 1 << 63, value)
        yield Values("signextended", negative | (-1 << 8 * width) & (1 << 64) - 1, negative)


def write(bus: Bus, place: Place, width: int, value: int = PATTERN, *, insn: int = 0) -> Access:
    """Return a plain write of the low `width` bytes of `value`."""
    return Access(bus, place, width, (low_bytes(value, width),), insn=insn)


def read(bus: Bus, place: Place, width: int) -> Access:
    """Return a plain read."""
    return Access(bus, place, width, write=False)


def string_write(bus: Bus, place: Place, width: int, values: Iterable[int]) -> Access:
    """Return one string instruction that writes all `values`."""
    elements = tuple(low_bytes(value, width) for value in values)
    return Access(bus, place, width, elements, string=True)


def string_read(bus: Bus, place: Place, width: int, count: int = 2) -> Access:
    """Return one string instruction that reads `count` elements."""
    return Access(bus, place, width, (0,) * count, write=False, string=True)


def run(*accesses: Access, vm: int = 0, vcpu: int = 0) -> GuestRun:
    """Return the guest run that makes these accesses in order."""
    return GuestRun(accesses, vm=vm, vcpu=vcpu)


def case(
    family: str,
    parts: Iterable[object],
    steps: Iterable[Step],
    *,
    bus: Bus | str,
    length: int | str,
    phase: str = "assigned",
    hazardous: str = "",
) -> Case:
    """Return a case whose id is its family and parameters."""
    return Case(
        id=join(family, *parts),
        family=family,
        bus=str(bus).replace("_", "-"),
        len=str(length),
        phase=phase,
        steps=tuple(steps),
        hazardous=hazardous,
    )


def with_fd(request: Ioeventfd, fd: str) -> Ioeventfd:
    """Return the same request for another descriptor."""
    return replace(request, fd=fd)
