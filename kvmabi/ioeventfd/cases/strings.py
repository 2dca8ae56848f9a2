"""String instructions: one write an element, however many, whatever else matches on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvmabi.ioeventfd.cases.build import (
    GUEST_BUSES,
    OPEN_FIRST,
    OTHER,
    PATTERN,
    SPOT,
    WIDTHS,
    Subject,
    case,
    low_bytes,
    run,
    string_read,
    string_write,
)
from kvmabi.ioeventfd.contract import PAGE_SIZE, Bus
from kvmabi.ioeventfd.steps import Base, Case, Place

COUNTS: Final = (1, 2, 64)
MANY: Final = 1000
"""More than the page that KVM gathers a port string in can hold, four bytes wide."""
BUFFER_BYTES: Final = 4096
"""What the guest has room for: the elements of one instruction."""


def cases() -> Iterator[Case]:
    """Yield the family."""
    for bus in GUEST_BUSES:
        for width in WIDTHS[bus]:
            for count in COUNTS:
                for where in sorted({0, count // 2, count - 1}) if bus is Bus.MMIO else (0,):
                    yield from _string(bus, width, count, where)
            if MANY * width <= BUFFER_BYTES:
                yield from _string(bus, width, MANY, MANY - 1 if bus is Bus.MMIO else 0)
    yield from _over_the_page()


def _string(bus: Bus, width: int, count: int, where: int) -> Iterator[Case]:
    """Yield a string of `count` elements, of which the one at `where` may hit by its address."""
    value, other = low_bytes(PATTERN, width), low_bytes(OTHER, width)
    values = [other if (index - where) % 3 else value for index in range(count)]
    go = run(
        string_write(bus, SPOT[bus], width, values),
        string_read(bus, SPOT[bus], width, min(count, COUNTS[-1])),
    )
    place = SPOT[bus] + where * width
    for name, shape in {"any": (width, None), "equal": (width, value), "len0": (0, None)}.items():
        yield case(
            "string",
            (bus, name, f"w{width}", f"count{count}", f"hit{where}"),
            (OPEN_FIRST, Subject(bus, *shape).request(place), go),
            bus=bus,
            length=shape[0],
        )


def _over_the_page() -> Iterator[Case]:
    """Yield strings that run over the end of a page, with and without an element that straddles."""
    for width in WIDTHS[Bus.MMIO]:
        for skew in sorted({0, 1, width // 2} & set(range(width))):
            start = Place(Base.BAR0, PAGE_SIZE - 3 * width + skew)
            values = [PATTERN + index for index in range(6)]
            go = run(
                string_write(Bus.MMIO, start, width, values), string_read(Bus.MMIO, start, width, 6)
            )
            for element in (1, 2, 3, 4):
                one = Subject(Bus.MMIO, width).request(start + element * width)
                yield case(
                    "string-page",
                    (f"w{width}", f"skew{skew}", f"hit{element}"),
                    (OPEN_FIRST, one, go),
                    bus=Bus.MMIO,
                    length=width,
                )
