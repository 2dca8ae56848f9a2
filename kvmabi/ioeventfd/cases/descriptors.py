"""What an eventfd may be: semaphore, blocking, dup'ed, closed, its number reused, or full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvmabi.ioeventfd.cases.build import (
    FIRST,
    GUEST_BUSES,
    LENGTHS,
    SPOT,
    WIDTHS,
    Subject,
    case,
    run,
    with_fd,
    write,
)
from kvmabi.ioeventfd.contract import EVENTFD_MAX, Bus
from kvmabi.ioeventfd.steps import (
    Case,
    CloseFd,
    DupFd,
    FdKind,
    FillFd,
    GuestRun,
    Ioeventfd,
    OpenFd,
    Step,
)

KINDS: Final = (FdKind.EVENTFD, FdKind.SEMAPHORE, FdKind.NONBLOCKING)
SECOND: Final = "f"
FILLS: Final = {
    "one": 1,
    "low31": (1 << 31) - 1,
    "low32": (1 << 32) - 1,
    "half": 1 << 63,
    "max3": EVENTFD_MAX - 3,
    "max2": EVENTFD_MAX - 2,
    "max1": EVENTFD_MAX - 1,
}
"""Counts that user space can write: it is refused 2^64 - 1, the kernel may reach it."""


def cases() -> Iterator[Case]:
    """Yield the family."""
    for bus in GUEST_BUSES:
        for length in LENGTHS:
            width = length if length in WIDTHS[bus] else 4
            one = Subject(bus, length).request()
            go = run(*[write(bus, SPOT[bus], width)] * 3)
            for name, kind, steps in _steps(one, go):
                yield case(
                    "eventfd",
                    (name, bus, f"len{length}", kind),
                    [OpenFd(FIRST, kind), *steps],
                    bus=bus,
                    length=length,
                )
    yield from _shared()


def _steps(one: Ioeventfd, go: GuestRun) -> Iterator[tuple[str, FdKind, list[Step]]]:
    by_dup = with_fd(one, SECOND)
    often = GuestRun(go.accesses * 100)
    for kind in KINDS:
        yield "plain", kind, [one, go, go]
        yield "often", kind, [one, often, go]
        yield "dup-assign", kind, [DupFd(SECOND, FIRST), by_dup, go, one.deassign(), go]
        yield "dup-deassign", kind, [DupFd(SECOND, FIRST), one, go, by_dup.deassign(), go]
        yield "dup-closed", kind, [DupFd(SECOND, FIRST), by_dup, CloseFd(SECOND), go]
        yield "closed", kind, [one, go, CloseFd(FIRST), go]
        reused: list[Step] = [one, CloseFd(FIRST), OpenFd(FIRST, kind)]
        yield "number-reused", kind, [*reused, go, one.deassign(), one, go]
    for label, count in FILLS.items():
        for kind in KINDS:
            yield f"full-{label}", kind, [FillFd(FIRST, count), one, go]


def _shared() -> Iterator[Case]:
    """Yield one eventfd behind many addresses: every write adds 1, whichever it hits."""
    for bus in GUEST_BUSES:
        for count in (2, 3, 8):
            places = [SPOT[bus] + 4 * index for index in range(count)]
            requests = [Subject(bus, 4).request(place) for place in places]
            go = run(*(write(bus, place, 4) for place in places))
            yield case(
                "eventfd-shared",
                (bus, count),
                [OpenFd(FIRST, FdKind.NONBLOCKING), *requests, go, requests[0].deassign(), go],
                bus=bus,
                length=4,
            )
    both = [Subject(bus, 4).request() for bus in GUEST_BUSES]
    go = run(*(write(bus, SPOT[bus], 4) for bus in GUEST_BUSES))
    ccw = Subject(Bus.VIRTIO_CCW, 4).request()
    yield case(
        "eventfd-shared",
        ("buses",),
        [OpenFd(FIRST, FdKind.NONBLOCKING), ccw, *both, go, both[0].deassign(), go],
        bus="all",
        length=4,
    )
