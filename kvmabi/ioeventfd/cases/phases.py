"""The life of a registration: before, assigned, again, clashing, wrongly and rightly deassigned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from kvmabi.ioeventfd.cases.build import (
    DATAMATCH,
    FIRST,
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
    string_write,
    values_for,
    with_fd,
    write,
)
from kvmabi.ioeventfd.contract import BUS_FLAGS, Bus
from kvmabi.ioeventfd.steps import (
    Case,
    CloseFd,
    DupFd,
    FdKind,
    GuestRun,
    Ioeventfd,
    OpenFd,
    Step,
)

SECOND: Final = "f"
OPEN_SECOND: Final = OpenFd(SECOND, FdKind.NONBLOCKING)
VALUE_LABELS: Final = ("any", "equal", "byte0", "above")
Phase = Callable[[Ioeventfd, GuestRun], list[Step]]


def _before(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [go, one, go]


def _again(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [one, one, go]


def _again_other_fd(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [OPEN_SECOND, one, with_fd(one, SECOND), go]


def _deassigned(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [one, go, one.deassign(), go]


def _deassigned_twice(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [one, one.deassign(), one.deassign(), go]


def _deassigned_first(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [one.deassign(), go, one, go]


def _assigned_again(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [one, one.deassign(), one, go, one.deassign(), go]


def _assigned_again_other_fd(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [OPEN_SECOND, one, one.deassign(), with_fd(one, SECOND), go]


def _closed(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [one, CloseFd(FIRST), go]


def _closed_dup_kept(one: Ioeventfd, go: GuestRun) -> list[Step]:
    return [DupFd(SECOND, FIRST), one, CloseFd(FIRST), go, with_fd(one, SECOND).deassign(), go]


PHASES: Final[dict[tuple[str, str], Phase]] = {
    ("before", ""): _before,
    ("again", ""): _again,
    ("again", "otherfd"): _again_other_fd,
    ("deassigned", ""): _deassigned,
    ("deassigned", "twice"): _deassigned_twice,
    ("deassigned", "first"): _deassigned_first,
    ("reassigned", ""): _assigned_again,
    ("reassigned", "otherfd"): _assigned_again_other_fd,
    ("closed", ""): _closed,
    ("closed", "dupkept"): _closed_dup_kept,
}


def wrong_deassigns(one: Ioeventfd) -> dict[str, Ioeventfd]:
    """Return deassigns that differ from the right one in a single field, by that field's name."""
    flags = one.deassign().flags
    other_bus = BUS_FLAGS[Bus.MMIO if one.bus is Bus.PIO else Bus.PIO]
    wrong = {
        "fd": replace(one, flags=flags, fd=SECOND),
        "addr": replace(one, flags=flags, place=one.place + 1),
        "addr-4g": replace(one, flags=flags, place=one.place + (1 << 32)),
        "len": replace(one, flags=flags, len=4 if one.len != 4 else 2),
        "len0": replace(one, flags=flags, len=0 if one.len else 1),
        "bus": replace(one, flags=flags & ~BUS_FLAGS[one.bus] | other_bus),
        "wildcard": replace(one, flags=flags ^ DATAMATCH),
    }
    if not one.wildcard:
        wrong["datamatch"] = replace(one, flags=flags, datamatch=one.datamatch ^ 1)
        wrong["datamatch-top"] = replace(one, flags=flags, datamatch=one.datamatch ^ 1 << 63)
    return wrong


def clashing(one: Ioeventfd) -> dict[str, Ioeventfd]:
    """Return assigns that one write could match together with `one`, by what they change.

    The same request for another eventfd clashes as well: that is "again", not here.
    """
    if one.len == 0:
        return {
            f"len{length}": replace(one, len=length, fd=SECOND) for length in LENGTHS if length
        } | {"len4-datamatch": replace(one, len=4, flags=one.flags | DATAMATCH, fd=SECOND)}
    wildcard = replace(one, flags=one.flags & ~DATAMATCH, fd=SECOND)
    any_length = {"len0": replace(wildcard, len=0)}
    if one.wildcard:
        return any_length | {"datamatch": replace(one, flags=one.flags | DATAMATCH, fd=SECOND)}
    return any_length | {"wildcard": wildcard}


def cases() -> Iterator[Case]:
    """Yield the family."""
    for bus in GUEST_BUSES:
        for length in LENGTHS:
            for width in WIDTHS[bus]:
                for values in values_for(length, width):
                    if values.label in VALUE_LABELS:
                        yield from _life(bus, length, width, values, (0, 1, -width))
    for length in LENGTHS:  # the rules of assign and deassign hold where no guest can write, too
        for values in values_for(length, length or 4):
            if values.label in VALUE_LABELS:
                yield from _life(Bus.VIRTIO_CCW, length, length or 4, values, (0,))


def _life(
    bus: Bus, length: int, width: int, values: Values, offsets: tuple[int, ...]
) -> Iterator[Case]:
    one = Subject(bus, length, values.datamatch).request()
    reached = Bus.MMIO if bus is Bus.VIRTIO_CCW else bus
    for offset in offsets:
        place = SPOT[bus] + offset
        go = run(
            write(reached, place, width, values.written),
            read(reached, place, width),
            string_write(reached, place, width, (OTHER, values.written)),
        )
        for phase, variant, steps in _phases(one, go):
            yield case(
                "phase",
                (
                    phase,
                    variant,
                    bus.replace("_", "-"),
                    f"len{length}",
                    values.label,
                    f"w{width}",
                    signed(offset),
                ),
                [OPEN_FIRST, *steps],
                bus=bus,
                length=length,
                phase=phase,
            )


def _phases(one: Ioeventfd, go: GuestRun) -> Iterator[tuple[str, str, list[Step]]]:
    """Yield each phase, its variant ("" where there is one only), and the steps that lead there."""
    for (phase, variant), make in PHASES.items():
        yield phase, variant, make(one, go)
    for field, wrong in wrong_deassigns(one).items():
        yield "deassign-wrong", field, [OPEN_SECOND, one, wrong, go, one.deassign(), go]
    for change, clash in clashing(one).items():
        yield "clash", change, [OPEN_SECOND, one, clash, go]
