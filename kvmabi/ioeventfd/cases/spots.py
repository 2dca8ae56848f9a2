"""One spot, or spots that look alike: pairs of shapes, single bits, and far twins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

from kvmabi.ioeventfd.cases.build import (
    GUEST_BUSES,
    LENGTHS,
    OPEN_FIRST,
    OTHER,
    PATTERN,
    SPOT,
    WIDTHS,
    Subject,
    case,
    low_bytes,
    run,
    write,
)
from kvmabi.ioeventfd.contract import Bus, Shape
from kvmabi.ioeventfd.steps import Access, Case, FdKind, Ioeventfd, OpenFd

SECOND: Final = OpenFd("f", FdKind.NONBLOCKING)
THIRD: Final = OpenFd("g", FdKind.NONBLOCKING)
FIRST_TWIN_BIT: Final = 12
"""From this bit on, an address that differs in it alone lies in another page."""


def cases() -> Iterator[Case]:
    """Yield the family."""
    for bus in Bus:
        yield from _pairs(bus)
        yield from _clash_with_several(bus)
        yield from _zero_beside_wildcard(bus)
    yield from _above_4g()
    for bus in GUEST_BUSES:
        yield from _bits(bus)
        yield from _twins(bus)


def shapes() -> dict[str, Shape]:
    """Return lengths and datamatches that come close to each other, by name."""
    found: dict[str, Shape] = {"len0": (0, None)}
    for length in LENGTHS[1:]:
        value = low_bytes(PATTERN, length)
        top = value ^ 1 << 8 * length - 1
        near = {"any": None, "value": value, "low": value ^ 1, "top": top}
        if length < 8:
            near |= {"above": value | 1 << 8 * length, "above63": value | 1 << 63}
        else:
            near |= {"bit32": value ^ 1 << 32}
        found |= {f"len{length}-{name}": (length, datamatch) for name, datamatch in near.items()}
    return found


def _reached(bus: Bus) -> Bus:
    """Return the bus that a guest's write reaches: next to it for ccw."""
    return Bus.MMIO if bus is Bus.VIRTIO_CCW else bus


def _writes(bus: Bus, *lengths: int) -> Iterator[Access]:
    """Yield writes that could hit shapes of these lengths."""
    reached = _reached(bus)
    for width in sorted({*lengths} & {*WIDTHS[reached]}) or [4]:
        for change in (0, 1, 1 << 8 * width - 1, *((1 << 32,) if width == 8 else ())):
            yield write(reached, SPOT[reached], width, low_bytes(PATTERN, width) ^ change)


def _pairs(bus: Bus) -> Iterator[Case]:
    """Yield every pair of shapes at one spot: they clash, or each write finds its own."""
    for (one_name, one), (two_name, two) in product(shapes().items(), repeat=2):
        first = Subject(bus, *one).request()
        second = Subject(bus, *two).request(fd="f")
        go = run(*_writes(bus, one[0], two[0]))
        yield case(
            "pair",
            (bus.replace("_", "-"), one_name, two_name),
            (OPEN_FIRST, SECOND, first, second, go, first.deassign(), go, second.deassign()),
            bus=bus,
            length=one[0] if one[0] == two[0] else "several",
            phase="shared",
        )


def _clash_with_several(bus: Bus) -> Iterator[Case]:
    """Yield a spot with three registrations, and more that clash with each of them in turn."""
    kinds: dict[str, list[Shape]] = {
        "datamatches": [(4, 1), (4, 2), (4, 3)],
        "lengths": [(1, None), (2, None), (4, None)],
        "mixed": [(2, 7), (4, None), (8, 7)],
    }
    for kind, several in kinds.items():
        requests = [
            Subject(bus, *shape).request(fd=name)
            for shape, name in zip(several, "efg", strict=True)
        ]
        for index, (length, datamatch) in enumerate(several):
            clashing: list[Ioeventfd] = [
                Subject(bus, length, datamatch).request(),
                Subject(bus, length).request(),
                Subject(bus, 0).request(),
            ]
            yield case(
                "clash-several",
                (bus.replace("_", "-"), kind, index),
                [OPEN_FIRST, SECOND, THIRD, *requests, *clashing, run(*_writes(bus, 1, 2, 4, 8))],
                bus=bus,
                length="several",
                phase="clash",
            )


def _bits(bus: Bus) -> Iterator[Case]:
    """Yield datamatches that differ from a value in one bit: each of the 64 counts."""
    for length in WIDTHS[bus]:
        value = low_bytes(PATTERN, length)
        for bit in range(64):
            one = Subject(bus, length, value ^ 1 << bit).request()
            other = low_bytes(value ^ 1 << bit, length)
            go = [write(bus, SPOT[bus], length, each) for each in (value, other, OTHER)]
            yield case(
                "bit",
                (bus, f"len{length}", f"bit{bit}"),
                (OPEN_FIRST, one, run(*go)),
                bus=bus,
                length=length,
            )


def _twins(bus: Bus) -> Iterator[Case]:
    """Yield addresses that differ in one high bit: registered, assigned and removed apart."""
    for length in (0, 4):
        here = Subject(bus, length).request(fd="f")
        go = run(write(bus, SPOT[bus], 4))
        for bit in range(FIRST_TWIN_BIT, 64):
            there = Subject(bus, length).request(SPOT[bus] + (1 << bit))
            steps = (there, go, here.deassign(), here, go, there.deassign(), go)
            yield case(
                "twin",
                (bus, f"len{length}", f"bit{bit}"),
                (OPEN_FIRST, SECOND, *steps),
                bus=bus,
                length=length,
            )


def _zero_beside_wildcard(bus: Bus) -> Iterator[Case]:
    """Yield a datamatch of 0 and a wildcard: the deassign of one leaves the other alone."""
    reached = _reached(bus)
    for length in LENGTHS[1:]:
        zero, wildcard = Subject(bus, length, 0).request(), Subject(bus, length).request()
        width = length if length in WIDTHS[reached] else 4
        go = run(*(write(reached, SPOT[bus], width, value) for value in (0, 1)))
        for kept, one, other in (("", zero, wildcard), ("wildcard", wildcard, zero)):
            yield case(
                "datamatch-zero",
                (kept, "kept", bus.replace("_", "-"), f"len{length}"),
                (OPEN_FIRST, one, other.deassign(), go, one.deassign(), go),
                bus=bus,
                length=length,
                phase="deassigned",
            )


def _above_4g() -> Iterator[Case]:
    """Yield a spot whose twin lies 4 GiB above, where the guest writes as well."""
    low, high = SPOT[Bus.MMIO], SPOT[Bus.MMIO] + (1 << 32)
    for length in LENGTHS:
        above = Subject(Bus.MMIO, length).request(high)
        below = Subject(Bus.MMIO, length).request(low, fd="f")
        go = run(*(write(Bus.MMIO, place, length or 4) for place in (high, low, high)))
        for kind, steps in {
            "alone": (above, go, above.deassign(), go),
            "both": (above, below, go, below.deassign(), go),
            "below-alone": (below, go, above, above.deassign(), go),
        }.items():
            yield case(
                "above-4g",
                (kind, f"len{length}"),
                (OPEN_FIRST, SECOND, *steps),
                bus=Bus.MMIO,
                length=length,
            )
