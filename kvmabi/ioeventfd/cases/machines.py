"""More than one VM or vCPU, and VMs that end with registrations still in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kvmabi.ioeventfd.cases.build import (
    GUEST_BUSES,
    LENGTHS,
    OPEN_FIRST,
    OTHER,
    PATTERN,
    WIDTHS,
    Subject,
    case,
    low_bytes,
    read,
    run,
    string_read,
    string_write,
    with_fd,
    write,
)
from kvmabi.ioeventfd.steps import (
    Case,
    CloseFd,
    FdKind,
    GuestRun,
    Ioeventfd,
    OpenFd,
    ReplaceVm,
    Step,
    Together,
)

OPEN_SECOND = OpenFd("f", FdKind.NONBLOCKING)
WRITES_EACH = 1024
"""Enough to keep a vCPU busy for longer than it takes another thread to start."""


def cases() -> Iterator[Case]:
    """Yield the family."""
    for bus in GUEST_BUSES:
        for length in LENGTHS:
            width = length if length in WIDTHS[bus] else 4
            one = Subject(bus, length).request()
            for family, name, steps in (
                *_two_vms(one, width),
                *_teardown(one, width),
                *_two_vcpus(one, width),
                *_second_vcpu(one, width),
                *_unread(one, width),
            ):
                yield case(
                    family,
                    (name, bus, f"len{length}"),
                    steps,
                    bus=bus,
                    length=length,
                )


def _go(one: Ioeventfd, width: int, *, vm: int = 0, vcpu: int = 0, times: int = 1) -> GuestRun:
    return run(*[write(one.bus, one.place, width)] * times, vm=vm, vcpu=vcpu)


def _two_vms(one: Ioeventfd, width: int) -> Iterator[tuple[str, str, list[Step]]]:
    """Yield two VMs that know nothing of each other's registrations, whoever shares the eventfd."""
    there = replace(one, vm=1)
    both = [_go(one, width, vm=0), _go(one, width, vm=1)]
    yield "vms", "one-eventfd", [OPEN_FIRST, one, there, *both, one.deassign(), *both]
    yield "vms", "two-eventfds", [OPEN_FIRST, OPEN_SECOND, one, with_fd(there, "f"), *both]
    yield "vms", "only-first", [OPEN_FIRST, one, *both, there.deassign(), *both]
    yield "vms", "one-closed", [OPEN_FIRST, one, there, ReplaceVm(0), *both]
    bursts = [_go(one, width, vm=vm, times=WRITES_EACH) for vm in (0, 1)]
    yield "vms", "at-once", [OPEN_FIRST, one, there, Together(tuple(bursts))]


def _teardown(one: Ioeventfd, width: int) -> Iterator[tuple[str, str, list[Step]]]:
    """Yield VMs closed without deassign: the eventfd lives on, and the next VM starts empty."""
    go = _go(one, width)
    closed: list[Step] = [OPEN_FIRST, one, go, ReplaceVm()]
    yield "teardown", "assigned", [*closed, go, one, go]
    yield "teardown", "deassign-in-next", [*closed, one.deassign(), go]
    yield "teardown", "fd-closed", [OPEN_FIRST, one, CloseFd("e"), go, ReplaceVm(), go]
    several = [replace(one, place=one.place + 8 * index) for index in range(4)]
    yield "teardown", "several", [OPEN_FIRST, *several, go, ReplaceVm(), go]


def _two_vcpus(one: Ioeventfd, width: int) -> Iterator[tuple[str, str, list[Step]]]:
    """Yield two vCPUs of one VM: a registration is the VM's, and no signal is lost."""
    next_to = with_fd(replace(one, place=one.place + 8), "f")
    alone = [_go(one, width, vcpu=0), _go(one, width, vcpu=1)]
    burst = [_go(one, width, vcpu=vcpu, times=WRITES_EACH) for vcpu in (0, 1)]
    apart = [burst[0], _go(next_to, width, vcpu=1, times=WRITES_EACH)]
    two: list[Step] = [OPEN_FIRST, OPEN_SECOND, one, next_to]
    yield "vcpus", "each", [OPEN_FIRST, one, *alone, one.deassign(), *alone]
    yield "vcpus", "one-eventfd", [OPEN_FIRST, one, Together(tuple(burst))]
    yield "vcpus", "two-eventfds", [*two, Together(tuple(apart))]
    missing = _go(one, width, vcpu=1, times=WRITES_EACH)
    elsewhere = replace(
        missing,
        accesses=tuple(replace(access, place=access.place + 16) for access in missing.accesses),
    )
    yield "vcpus", "one-misses", [OPEN_FIRST, one, Together((burst[0], elsewhere))]


def _second_vcpu(one: Ioeventfd, width: int) -> Iterator[tuple[str, str, list[Step]]]:
    """Yield what the first vCPU tries on the second one, with a datamatch where it can."""
    bus, place = one.bus, one.place
    matched = Subject(bus, one.len, low_bytes(PATTERN, one.len) if one.len else None).request()
    go = run(
        write(bus, place, width),
        write(bus, place, width, OTHER),
        write(bus, place + 1, width),
        read(bus, place, width),
        string_write(bus, place, width, (OTHER, PATTERN)),
        string_read(bus, place, width),
        vcpu=1,
    )
    yield "vcpus", "second", [OPEN_FIRST, matched, go, matched.deassign(), go]
    if one.len:
        beside = Subject(bus, one.len, low_bytes(OTHER, one.len)).request(fd="f")
        yield "vcpus", "second-shared", [OPEN_FIRST, OPEN_SECOND, matched, beside, go]


def _unread(one: Ioeventfd, width: int) -> Iterator[tuple[str, str, list[Step]]]:
    """Yield counts that nobody has read yet when something else happens: they stay."""
    go = replace(_go(one, width), unread=True)
    again = [one.deassign(), one]
    yield "unread", "deassign", [OPEN_FIRST, one, go, one.deassign()]
    yield "unread", "reassign", [OPEN_FIRST, one, go, *again, go]
    nowhere = replace(one, place=one.place + 1).deassign()
    yield "unread", "again", [OPEN_FIRST, one, go, one, go]
    yield "unread", "deassign-wrong", [OPEN_FIRST, one, go, nowhere, go]
    yield "unread", "clash", [OPEN_FIRST, OPEN_SECOND, one, go, with_fd(one, "f"), go]
    yield "unread", "vm-closed", [OPEN_FIRST, one, go, ReplaceVm()]
