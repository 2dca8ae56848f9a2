"""Writes that straddle a page: they reach the bus as two fragments, each with its own fate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvmabi.ioeventfd.cases.build import PATTERN, Subject, case, low_bytes, read, run, write
from kvmabi.ioeventfd.contract import PAGE_SIZE, Bus
from kvmabi.ioeventfd.steps import Base, Case, FdKind, GuestRun, Ioeventfd, OpenFd, Place

PAGE_END: Final = Place(Base.BAR0, PAGE_SIZE)
NAMES: Final = ("e", "f")


def cases() -> Iterator[Case]:
    """Yield the family."""
    for width in (2, 4, 8):
        for first in range(1, width):
            for label, requests in _registrations(width, first):
                place = PAGE_END + -first
                go = run(
                    write(Bus.MMIO, place, width),
                    read(Bus.MMIO, place, width),
                    write(Bus.MMIO, place, 1),
                    write(Bus.MMIO, PAGE_END, 1),
                )
                yield _handed_over(width, first, label, requests)
                yield case(
                    "straddle",
                    (f"w{width}", f"first{first}", label),
                    [*(OpenFd(name, FdKind.NONBLOCKING) for name in NAMES), *requests, go],
                    bus=Bus.MMIO,
                    length=requests[0].len if requests else "none",
                )


def _handed_over(width: int, first: int, label: str, requests: list[Ioeventfd]) -> Case:
    """Return the write alone, whose fragments different threads finish.

    Writes only: a kernel that kept a pointer to a stack would read there, and not write.
    """
    go = GuestRun((write(Bus.MMIO, PAGE_END + -first, width),), handover=True)
    return case(
        "handover",
        (f"w{width}", f"first{first}", label),
        [*(OpenFd(name, FdKind.NONBLOCKING) for name in NAMES), *requests, go],
        bus=Bus.MMIO,
        length=requests[0].len if requests else "none",
    )


def _registrations(width: int, first: int) -> Iterator[tuple[str, list[Ioeventfd]]]:
    """Yield what may be registered where a write of `width` has `first` bytes before the end."""
    place = PAGE_END + -first
    yield "none", []
    yield "whole", [Subject(Bus.MMIO, width).request(place)]
    value = low_bytes(PATTERN, width)
    yield "whole-datamatch", [Subject(Bus.MMIO, width, value).request(place)]
    parts = {
        "first": (place, first, low_bytes(value, first)),
        "second": (PAGE_END, width - first, value >> 8 * first),
    }
    for label, (where, size, part) in parts.items():
        yield f"{label}-anylength", [Subject(Bus.MMIO, 0).request(where)]
        if size in (1, 2, 4):
            yield f"{label}-wildcard", [Subject(Bus.MMIO, size).request(where)]
            yield f"{label}-equal", [Subject(Bus.MMIO, size, part).request(where)]
            yield f"{label}-differs", [Subject(Bus.MMIO, size, part ^ 1).request(where)]
            yield f"{label}-whole-value", [Subject(Bus.MMIO, size, value).request(where)]
    both = [
        Subject(Bus.MMIO, 0).request(where, fd=name)
        for name, (where, _, _) in zip(NAMES, parts.values(), strict=True)
    ]
    yield "both-anylength", both
