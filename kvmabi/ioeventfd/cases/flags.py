"""Every combination of flag bits: those with a meaning, those inside the mask, those above it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Final

from kvmabi import uapi
from kvmabi.ioeventfd.cases.build import LENGTHS, OPEN_FIRST, OTHER, PATTERN, SPOT, case, run, write
from kvmabi.ioeventfd.contract import Bus
from kvmabi.ioeventfd.steps import Case, GuestRun, Ioeventfd

DEASSIGN: Final = uapi.KVM_IOEVENTFD_FLAG_DEASSIGN
LOW_BITS: Final = (
    uapi.KVM_IOEVENTFD_FLAG_DATAMATCH,
    uapi.KVM_IOEVENTFD_FLAG_PIO,
    uapi.KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY,
    1 << 4,
)
"""The bits of today's mask but DEASSIGN; bit 4 (fast_mmio) has no macro."""
HIGH_BITS: Final = tuple(1 << bit for bit in range(5, 32))
HIGH_COMBINATIONS: Final = (0, *HIGH_BITS, sum(HIGH_BITS))


def cases() -> Iterator[Case]:
    """Yield the family."""
    for chosen in product((False, True), repeat=len(LOW_BITS)):
        low = sum(bit for bit, on in zip(LOW_BITS, chosen, strict=True) if on)
        for high in HIGH_COMBINATIONS:
            for length in LENGTHS:
                yield _assign(low | high, length)
        yield from _deassign_with_more(low)
    for one, two in combinations(HIGH_BITS, 2):
        yield _assign(one | two, 4)


def _accesses(length: int) -> GuestRun:
    """Return writes of the datamatch and of another value, on each bus that a guest can reach."""
    widths = {Bus.MMIO: length or 4, Bus.PIO: length if length in (1, 2, 4) else 4}
    return run(
        *(
            write(bus, SPOT[bus], width, value)
            for bus, width in widths.items()
            for value in (PATTERN, OTHER)
        )
    )


def _request(flags: int, length: int) -> Ioeventfd:
    width = length or 4
    datamatch = PATTERN & (1 << 8 * width) - 1
    return Ioeventfd(SPOT[Bus.of_flags(flags)], length, flags, datamatch)


def _assign(flags: int, length: int) -> Case:
    one = _request(flags, length)
    return case(
        "flags",
        (f"{flags:#010x}", f"len{length}"),
        (OPEN_FIRST, one, _accesses(length), one.deassign()),
        bus=Bus.of_flags(flags),
        length=length,
        phase=_phase(flags, length),
    )


def _phase(flags: int, length: int) -> str:
    """Return what becomes of an assign; bit 5 is PV_MMIO's where the kernel has that."""
    if flags >> 6 or (length == 0 and flags & uapi.KVM_IOEVENTFD_FLAG_DATAMATCH):
        return "refused"
    return "pv-mmio" if flags >> 5 else "assigned"


def _deassign_with_more(low: int) -> Iterator[Case]:
    """Yield deassigns that carry an unknown bit as well: it is not looked at."""
    one = _request(low, 4)
    for high in HIGH_COMBINATIONS[1:]:
        wider = _request(low | high | DEASSIGN, 4)
        yield case(
            "flags-deassign",
            (f"{wider.flags:#010x}",),
            (OPEN_FIRST, one, wider, _accesses(4), one.deassign()),
            bus=Bus.of_flags(low),
            length=4,
            phase="deassigned",
        )
