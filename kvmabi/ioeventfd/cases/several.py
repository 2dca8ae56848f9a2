"""Several registrations at once: sharing an address, side by side, overlapping, up to 1,200."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Final

from kvmabi.ioeventfd.cases.build import (
    GUEST_BUSES,
    PATTERN,
    SPOT,
    WIDTHS,
    Subject,
    case,
    low_bytes,
    run,
    write,
)
from kvmabi.ioeventfd.contract import Bus
from kvmabi.ioeventfd.steps import (
    Access,
    Case,
    CoalescedZones,
    FdKind,
    Ioeventfd,
    OpenFd,
    Place,
    Step,
)

COUNTS: Final = (1, 2, 10, 100, 300, 1000, 1200)
ZONES: Final = 900
"""Coalesced zones before the first registration: with them, a bus limit of 1,000 is near."""
ZONES_AT: Final = {Bus.MMIO: SPOT[Bus.MMIO] + 0x100000, Bus.PIO: Place(SPOT[Bus.PIO].base, 0x1000)}
MAX_OPEN_FDS: Final = 16
"""Of many registrations, these many have eventfds of their own; they are reused in turn."""


def _opened(requests: Sequence[Ioeventfd]) -> list[Step]:
    names = dict.fromkeys(request.fd for request in requests)
    return [OpenFd(name, FdKind.NONBLOCKING) for name in names]


def cases() -> Iterator[Case]:
    """Yield the family."""
    for bus in GUEST_BUSES:
        yield from _lengths_at_one_address(bus)
        yield from _datamatches(bus)
        yield from _neighbours(bus)
        yield from _one_removed(bus)
        yield from _many(bus)
        yield from _crowded(bus)
    yield from _same_address_other_bus()


def _lengths_at_one_address(bus: Bus) -> Iterator[Case]:
    """Yield one address with every length, assigned in every order: each width has its own."""
    lengths = WIDTHS[bus]
    go = run(*(write(bus, SPOT[bus], width) for width in lengths))
    for datamatch in (None, "equal"):
        for order in permutations(lengths):
            requests = [
                Subject(
                    bus, length, None if datamatch is None else low_bytes(PATTERN, length)
                ).request(fd=f"e{length}")
                for length in order
            ]
            yield case(
                "widths",
                (bus, *order, datamatch or "any"),
                [*_opened(requests), *requests, go],
                bus=bus,
                length="several",
            )


def _datamatches(bus: Bus) -> Iterator[Case]:
    """Yield one address with many datamatches of one length: each value has its own eventfd."""
    for length in WIDTHS[bus]:
        for count in (2, 3, 16, 64):
            values = [low_bytes(PATTERN + index, length) for index in range(count)]
            requests = [
                Subject(bus, length, value).request(fd=f"e{index % MAX_OPEN_FDS}")
                for index, value in enumerate(values)
            ]
            tried = [
                *values[:20],
                low_bytes(PATTERN - 1, length),
                low_bytes(PATTERN + count, length),
            ]
            yield case(
                "datamatches",
                (bus, f"len{length}", count),
                [
                    *_opened(requests),
                    *requests,
                    run(*(write(bus, SPOT[bus], length, v) for v in tried)),
                ],
                bus=bus,
                length=length,
            )


def _neighbours(bus: Bus) -> Iterator[Case]:
    """Yield two registrations whose ranges touch or overlap, and accesses all around them."""
    for first in (0, *WIDTHS[bus]):
        for second in (0, *WIDTHS[bus]):
            for distance in (1, 2, 4, 8):
                places = (SPOT[bus], SPOT[bus] + distance)
                requests = [
                    Subject(bus, length).request(place, fd=name)
                    for length, place, name in zip((first, second), places, "ef", strict=True)
                ]
                around = [
                    write(bus, SPOT[bus] + offset, width)
                    for offset in (-1, 0, 1, distance, distance + 1)
                    for width in WIDTHS[bus]
                ]
                yield case(
                    "neighbours",
                    (bus, f"len{first}", f"len{second}", f"up{distance}"),
                    [*_opened(requests), *requests, run(*around)],
                    bus=bus,
                    length=first if first == second else "several",
                )


def _one_removed(bus: Bus) -> Iterator[Case]:
    """Yield three registrations of which one goes, in each position: the others stay."""
    for kind in ("addresses", "datamatches", "lengths"):
        requests = _three(bus, kind)
        go = run(*(_matching_write(request) for request in requests))
        for gone in range(len(requests)):
            one = requests[gone]
            steps: list[Step] = [*_opened(requests), *requests, go, one.deassign(), go, one, go]
            yield case(
                "one-removed",
                (bus, kind, gone),
                steps,
                bus=bus,
                length="several" if kind == "lengths" else 4,
                phase="deassigned",
            )


def _three(bus: Bus, kind: str) -> list[Ioeventfd]:
    match kind:
        case "addresses":
            return [
                Subject(bus, 4).request(SPOT[bus] + 4 * index, fd=f"e{index}") for index in range(3)
            ]
        case "datamatches":
            return [Subject(bus, 4, index).request(fd=f"e{index}") for index in range(3)]
        case _:
            return [Subject(bus, length).request(fd=f"e{length}") for length in (1, 2, 4)]


def _matching_write(request: Ioeventfd) -> Access:
    value = PATTERN if request.wildcard else request.datamatch
    return write(request.bus, request.place, request.len, value)


def _many(bus: Bus) -> Iterator[Case]:
    """Yield N registrations: all are hit; first, middle and last are removed in turn."""
    spread = {Bus.MMIO: SPOT[Bus.MMIO], Bus.PIO: Place(SPOT[Bus.PIO].base, 0x1000)}[bus]
    for count in COUNTS:
        ends = sorted({0, count // 2, count - 1})
        around = sorted({each for end in ends for each in (end - 1, end, end + 1)} | {count})
        addressed = [
            Subject(bus, 1).request(spread + index, fd=f"e{index % MAX_OPEN_FDS}")
            for index in range(count)
        ]
        valued = [
            Subject(bus, 4, index).request(fd=f"e{index % MAX_OPEN_FDS}") for index in range(count)
        ]
        at = [write(bus, spread + index, 1) for index in range(-1, count + 1)]
        of = [write(bus, SPOT[bus], 4, index & 0xFFFF_FFFF) for index in range(-1, count + 1)]
        for kind, requests, accesses in (("addresses", addressed, at), ("values", valued, of)):
            near = run(*(accesses[index + 1] for index in around if -1 <= index <= count))
            removals = [step for end in ends for step in (requests[end].deassign(), near)]
            yield case(
                "many",
                (bus, kind, count),
                [*_opened(requests), *requests, run(*accesses), *removals],
                bus=bus,
                length=requests[0].len,
            )


def _crowded(bus: Bus) -> Iterator[Case]:
    """Yield registrations on a bus that holds many other devices: old kernels counted them all."""
    zones = CoalescedZones(bus, ZONES_AT[bus], ZONES)
    for count in (1, 200):
        requests = [Subject(bus, 4, index).request() for index in range(count)]
        hits = [write(bus, SPOT[bus], 4, index) for index in (0, count - 1, count)]
        yield case(
            "crowded",
            (bus, f"zones{ZONES}", count),
            [*_opened(requests), zones, *requests, run(*hits)],
            bus=bus,
            length=4,
        )


def _same_address_other_bus() -> Iterator[Case]:
    """Yield one number registered on two buses: only the bus that is written to signals."""
    for length in (0, 1, 2, 4, 8):
        width = length or 4
        for place in (SPOT[Bus.MMIO], SPOT[Bus.PIO]):
            for buses in permutations(Bus, 2):
                requests = [
                    Subject(bus, length).request(place, fd=name)
                    for bus, name in zip(buses, "ef", strict=True)
                ]
                go = run(
                    write(Bus.MMIO, SPOT[Bus.MMIO], width),
                    write(Bus.PIO, SPOT[Bus.PIO], width if width < 8 else 4),
                )
                yield case(
                    "buses",
                    (*(bus.replace("_", "-") for bus in buses), f"len{length}", place.base.lower()),
                    [*_opened(requests), *requests, go, requests[0].deassign(), go],
                    bus="all",
                    length=length,
                )
