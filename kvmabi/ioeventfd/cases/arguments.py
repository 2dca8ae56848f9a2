"""Bad lengths, the ends of the address space, and every kind of descriptor, in each order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from kvmabi.ioeventfd.cases.build import (
    DATAMATCH,
    FIRST,
    GUEST_BUSES,
    LENGTHS,
    OPEN_FIRST,
    SPOT,
    WIDTHS,
    Subject,
    case,
    read,
    run,
    write,
)
from kvmabi.ioeventfd.contract import BUS_FLAGS, Bus
from kvmabi.ioeventfd.steps import Base, Case, FdKind, Ioeventfd, OpenFd, Place, Step

BAD_LENGTHS: Final = (
    *(3, 5, 6, 7, 9, 10, 12, 15, 24, 255, 0x101, 0x102, 0x104, 0x108, 0x10004, (1 << 32) - 1),
    *(1 << bit for bit in range(4, 32)),
)
FD_KINDS: Final = tuple(FdKind)
JUDGED_KINDS: Final = (FdKind.NONBLOCKING, FdKind.PIPE, FdKind.CLOSED, FdKind.MINUS_ONE)
TOP: Final = 1 << 64
ADDRESSES: Final = (
    0,
    1,
    0x1_0000_0000,
    (1 << 52) - 8,
    1 << 52,
    (1 << 63) - 4,
    1 << 63,
    *(TOP - below for below in (16, 9, 8, 7, 5, 4, 3, 2, 1)),
)
OTHER: Final = "f"


def cases() -> Iterator[Case]:
    """Yield the family."""
    for bus in Bus:
        yield from _lengths(bus)
        yield from _addresses(bus)
        yield from _descriptors(bus)
        yield from _beside_another(bus)
    for bus in GUEST_BUSES:
        yield from _at_zero(bus)
        yield from _ignored_datamatch(bus)
    yield from _wide_ports()


def _lengths(bus: Bus) -> Iterator[Case]:
    """Yield bad lengths; they are judged before the descriptor, and not at all at deassign."""
    for length in BAD_LENGTHS:
        for flag, label in ((0, "any"), (DATAMATCH, "datamatch")):
            for kind in JUDGED_KINDS:
                one = Ioeventfd(SPOT[bus], length, BUS_FLAGS[bus] | flag)
                everywhere = run(*(write(each, SPOT[each], 4) for each in GUEST_BUSES))
                yield case(
                    "length",
                    (bus.replace("_", "-"), f"len{length}", label, kind),
                    (OpenFd(FIRST, kind), one, everywhere, one.deassign()),
                    bus=bus,
                    length="bad",
                    phase="refused",
                )


def _addresses(bus: Bus) -> Iterator[Case]:
    for address in ADDRESSES:
        for length in LENGTHS:
            one = Subject(bus, length).request(Place(Base.ZERO, address))
            near = run(*(write(each, SPOT[each], 4) for each in GUEST_BUSES))
            yield case(
                "address",
                (bus.replace("_", "-"), f"{address:#x}", f"len{length}"),
                (OPEN_FIRST, one, near, one, one.deassign(), one.deassign()),
                bus=bus,
                length=length,
                phase="refused" if length and address + length >= TOP else "assigned",
            )


def _descriptors(bus: Bus) -> Iterator[Case]:
    """Yield every kind of fd: at assign, at deassign, and where a clash would come after it."""
    for length in LENGTHS:
        one = Subject(bus, length).request()
        go = run(
            *(
                write(each, SPOT[each], length if length in WIDTHS[each] else 4)
                for each in GUEST_BUSES
            )
        )
        for kind in FD_KINDS:
            phase = "assigned" if kind.is_eventfd else "refused"
            parts = (bus.replace("_", "-"), f"len{length}", kind)
            other = replace(one, fd=OTHER)
            bad = OpenFd(OTHER, kind)
            steps: dict[str, tuple[list[Step], str]] = {
                "assign": ([OpenFd(FIRST, kind), one, go, one.deassign(), go], phase),
                "clash": ([OPEN_FIRST, bad, one, other, go], "clash"),
                "deassign": ([OPEN_FIRST, bad, one, other.deassign(), go], "deassign-wrong"),
            }
            for name, (what, when) in steps.items():
                yield case("fd", (name, *parts), what, bus=bus, length=length, phase=when)


def _beside_another(bus: Bus) -> Iterator[Case]:
    """Yield assigns that are refused where something is registered: it stays as it was."""
    for length in LENGTHS:
        one = Subject(bus, length).request()
        spots = [
            write(each, SPOT[each], length if length in WIDTHS[each] else 4) for each in GUEST_BUSES
        ]
        refused = {
            "len3": replace(one, len=3),
            "len-2g": replace(one, len=1 << 31),
            "flag31": replace(one, flags=one.flags | 1 << 31),
            "len0-datamatch": replace(one, len=0, flags=one.flags | DATAMATCH),
            "end": replace(one, len=8, place=Place(Base.ZERO, TOP - 1)),
        }
        for kind, other in refused.items():
            yield case(
                "refused-beside",
                (bus.replace("_", "-"), f"len{length}", kind),
                (OPEN_FIRST, one, other, run(*spots), one.deassign(), run(*spots)),
                bus=bus,
                length=length,
                phase="refused",
            )


def _at_zero(bus: Bus) -> Iterator[Case]:
    """Yield registrations at address 0, which is an address like any other."""
    zero = Place(Base.ZERO, 0)
    for length in LENGTHS:
        width = length if length in WIDTHS[bus] else 4
        one = Subject(bus, length).request(zero)
        go = run(write(bus, zero, width), write(bus, zero + 1, width), read(bus, zero, width))
        yield case(
            "zero",
            (bus, f"len{length}"),
            (OPEN_FIRST, go, one, go, one.deassign(), go),
            bus=bus,
            length=length,
        )


def _ignored_datamatch(bus: Bus) -> Iterator[Case]:
    """Yield wildcards that carry a datamatch: without the flag it means nothing."""
    for length in LENGTHS:
        width = length if length in WIDTHS[bus] else 4
        one = replace(Subject(bus, length).request(), datamatch=0xDEAD)
        plain = replace(one, datamatch=0)
        go = run(write(bus, SPOT[bus], width), write(bus, SPOT[bus], width, 0xDEAD))
        yield case(
            "ignored-datamatch",
            (bus, f"len{length}"),
            (OPEN_FIRST, one, go, plain, plain.deassign(), go),
            bus=bus,
            length=length,
        )


def _wide_ports() -> Iterator[Case]:
    """Yield ports beyond 16 bits: they can be registered, and no guest can reach them."""
    for length in LENGTHS:
        width = length if length in WIDTHS[Bus.PIO] else 4
        one = Subject(Bus.PIO, length).request(SPOT[Bus.PIO] + 0x10000)
        yield case(
            "wide-port",
            (f"len{length}",),
            (OPEN_FIRST, one, run(write(Bus.PIO, SPOT[Bus.PIO], width)), one.deassign()),
            bus=Bus.PIO,
            length=length,
        )
