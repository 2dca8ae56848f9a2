"""One registration, one guest instruction: every length, width, value, offset and form."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from kvmabi.ioeventfd.cases.build import (
    GUEST_BUSES,
    LENGTHS,
    OPEN_FIRST,
    OTHER,
    SPOT,
    WIDTHS,
    Subject,
    Values,
    case,
    read,
    run,
    signed,
    string_read,
    string_write,
    values_for,
    write,
)
from kvmabi.ioeventfd.contract import Bus
from kvmabi.ioeventfd.steps import Access, Case, Place

INSTRUCTION_LENGTHS = {
    (Bus.MMIO, 1): range(2, 16),
    (Bus.MMIO, 2): range(3, 16),
    (Bus.MMIO, 4): range(2, 16),
    (Bus.MMIO, 8): range(3, 16),
    (Bus.PIO, 1): range(1, 16),
    (Bus.PIO, 2): range(2, 16),
    (Bus.PIO, 4): range(1, 16),
}
"""How long in bytes an x86 instruction can be that writes so many bytes to a bus."""
ALIAS = 1 << 32
"""Added to a gpa: an address that equals the registered one in its low 32 bits."""


def offsets(bus: Bus, width: int) -> list[int]:
    """Return the offsets in bytes from the registered address that are worth an access."""
    near = {0, 1, -1, width, -width}
    return sorted(near | ({ALIAS} if bus is Bus.MMIO else set()))


def forms(bus: Bus, place: Place, width: int, value: int) -> dict[str, Access]:
    """Return the ways to access `place`; the strings hold a value that matches nothing, too."""
    return {
        "write": write(bus, place, width, value),
        "writestring": string_write(bus, place, width, (value, OTHER, value)),
        "read": read(bus, place, width),
        "readstring": string_read(bus, place, width),
    }


def cases() -> Iterator[Case]:
    """Yield the family."""
    for bus in GUEST_BUSES:
        for length in LENGTHS:
            for width in WIDTHS[bus]:
                for values in values_for(length, width):
                    yield from _accesses(bus, length, width, values)
    yield from _unaligned()
    yield from _instruction_lengths()


def _accesses(bus: Bus, length: int, width: int, values: Values) -> Iterator[Case]:
    subject = Subject(bus, length, values.datamatch)
    for offset in offsets(bus, width):
        place = SPOT[bus] + offset
        for form, access in forms(bus, place, width, values.written).items():
            yield case(
                "match",
                (bus, f"len{length}", values.label, f"w{width}", signed(offset), form),
                (OPEN_FIRST, subject.request(), run(access)),
                bus=bus,
                length=length,
            )


def _unaligned() -> Iterator[Case]:
    """Yield registrations at addresses that are no multiple of anything, hit and just missed."""
    for bus in GUEST_BUSES:
        for length in LENGTHS:
            for skew in (1, 2, 3, 5, 7):
                place = SPOT[bus] + skew
                width = length if length in WIDTHS[bus] else 4
                hit = write(bus, place, width)
                misses = [write(bus, place + delta, width) for delta in (-1, 1)]
                yield case(
                    "unaligned",
                    (bus, f"len{length}", f"skew{skew}"),
                    (
                        OPEN_FIRST,
                        Subject(bus, length).request(place),
                        run(misses[0], hit, misses[1]),
                    ),
                    bus=bus,
                    length=length,
                )


def _instruction_lengths() -> Iterator[Case]:
    """Yield writes of every instruction length: KVM must resume behind exactly that many bytes."""
    for (bus, width), sizes in INSTRUCTION_LENGTHS.items():
        for length, size, hit in product((0, width), sizes, (True, False)):
            place = SPOT[bus] + (0 if hit else 8)
            yield case(
                "instruction",
                (bus, f"len{length}", f"w{width}", f"bytes{size}", "hit" if hit else "miss"),
                (
                    OPEN_FIRST,
                    Subject(bus, length).request(),
                    run(write(bus, place, width, insn=size)),
                ),
                bus=bus,
                length=length,
            )
