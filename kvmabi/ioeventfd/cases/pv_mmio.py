"""KVM_IOEVENTFD_FLAG_PV_MMIO: EINVAL where the kernel has none, its own promises where it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kvmabi.ioeventfd.cases.build import (
    DATAMATCH,
    OPEN_FIRST,
    PATTERN,
    SPOT,
    WIDTHS,
    Subject,
    case,
    low_bytes,
    read,
    run,
    signed,
    write,
)
from kvmabi.ioeventfd.cases.matching import INSTRUCTION_LENGTHS
from kvmabi.ioeventfd.contract import BUS_FLAGS, Bus
from kvmabi.ioeventfd.steps import Case, FdKind, Ioeventfd, OpenFd, Step


def cases() -> Iterator[Case]:
    """Yield the family."""
    for length in WIDTHS[Bus.MMIO]:
        one = Subject(Bus.MMIO, length, pv_mmio=True).request()
        yield from _accesses(length, one)
        for name, steps in _lives(length, one):
            yield case(
                "pv-mmio",
                (name, f"len{length}"),
                [OPEN_FIRST, *steps],
                bus=Bus.MMIO,
                length=length,
                phase="pv-mmio",
            )
        yield from _refused(length)
        yield from _instruction_lengths(length, one)


def _accesses(length: int, one: Ioeventfd) -> Iterator[Case]:
    """Yield writes of the registered width at the address and around it: the guest's own promise.

    Around it means other pages as well: a kernel may take the whole page's accesses for the flag.
    """
    for offset in sorted({0, 1, -1, length, -length, 64, 4096, 1 << 32}):
        yield case(
            "pv-mmio",
            (f"len{length}", signed(offset)),
            (OPEN_FIRST, one, run(write(Bus.MMIO, one.place + offset, length))),
            bus=Bus.MMIO,
            length=length,
            phase="pv-mmio",
        )


def _lives(length: int, one: Ioeventfd) -> Iterator[tuple[str, list[Step]]]:
    go = run(write(Bus.MMIO, one.place, length), write(Bus.MMIO, one.place + 64, length))
    plain = Subject(Bus.MMIO, length).request(fd="f")
    second = OpenFd("f", FdKind.NONBLOCKING)
    yield "before", [go, one, go]
    yield "again", [one, one, go]
    yield "deassigned", [one, go, one.deassign(), go]
    yield "reassigned", [one, one.deassign(), one, go, one.deassign(), go]
    yield "clash", [second, one, plain, go]
    far = one.place + 64
    other = Subject(Bus.MMIO, length).request(far, fd="f")
    other_pv = Subject(Bus.MMIO, length, pv_mmio=True).request(far, fd="f")
    yield "neighbour", [second, one, other, go, run(read(Bus.MMIO, far, length))]
    at_second = replace(go, vcpu=1)
    yield "second-vcpu", [one, at_second, one.deassign(), at_second]
    odd = replace(one, place=one.place + 1)
    yield "unaligned", [odd, run(*(write(Bus.MMIO, one.place + up, length) for up in (0, 1, 2)))]
    yield "neighbour-pv", [second, one, other_pv, go, one.deassign(), go]


def _instruction_lengths(length: int, one: Ioeventfd) -> Iterator[Case]:
    """Yield stores of every length: a kernel that does not decode must still skip all of them."""
    for size in INSTRUCTION_LENGTHS[Bus.MMIO, length]:
        go = run(
            write(Bus.MMIO, one.place, length, insn=size),
            write(Bus.MMIO, one.place + 64, length, insn=size),
        )
        yield case(
            "pv-mmio",
            ("instruction", f"len{length}", f"bytes{size}"),
            (OPEN_FIRST, one, go),
            bus=Bus.MMIO,
            length=length,
            phase="pv-mmio",
        )


def _refused(length: int) -> Iterator[Case]:
    """Yield the combinations that PV_MMIO excludes: every kernel answers EINVAL."""
    value = low_bytes(PATTERN, length)
    for name, bus, flags in (
        ("pio", Bus.PIO, BUS_FLAGS[Bus.PIO]),
        ("datamatch", Bus.MMIO, DATAMATCH),
        ("pio-datamatch", Bus.PIO, BUS_FLAGS[Bus.PIO] | DATAMATCH),
    ):
        one = Ioeventfd(SPOT[bus], length, flags, value, pv_mmio=True)
        width = length if length in WIDTHS[bus] else 4
        yield case(
            "pv-mmio",
            ("with", name, f"len{length}"),
            (OPEN_FIRST, one, run(write(bus, SPOT[bus], width)), one.deassign()),
            bus=bus,
            length=length,
            phase="refused",
        )
