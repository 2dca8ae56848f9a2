"""Page tables, walked as a CPU walks them, map memory to itself."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kvmabi.vmm import layout
from kvmabi.vmm.boot import GDT, page_tables

ADDRESS_MASK = 0x000F_FFFF_FFFF_F000
LARGE = 1 << 7


def walk(tables: dict[int, bytes], gva: int) -> int | None:
    """The gpa of this gva; None where it is not mapped writable."""
    base = layout.PML4_GPA
    for shift in (39, 30, 21):
        at = base + (gva >> shift & 511) * 8
        entry = read(tables, at)
        if entry & 3 != 3:
            return None
        if shift < 39 and entry & LARGE:
            return entry & ADDRESS_MASK & -(1 << shift) | gva & (1 << shift) - 1
        base = entry & ADDRESS_MASK
    return None


def read(tables: dict[int, bytes], at: int) -> int:
    for gpa, data in tables.items():
        if gpa <= at < gpa + len(data):
            return int.from_bytes(data[at - gpa : at - gpa + 8], "little")
    return 0


@pytest.mark.parametrize("pages_1_gib", [True, False])
@pytest.mark.parametrize(
    "gva",
    [0, 1, layout.RAM_GPA, layout.BAR0_GPA - 1, layout.BAR0_GPA, (1 << 32) + 5, 0x1_FFFF_FFFF],
)
def test_all_of_8_gib_is_mapped_to_itself(pages_1_gib: bool, gva: int) -> None:
    tables = {one.gpa: one.data for one in page_tables(pages_1_gib)}
    assert walk(tables, gva) == gva


@pytest.mark.parametrize("pages_1_gib", [True, False])
@pytest.mark.parametrize("gva", [layout.MAPPED_BYTES, 1 << 39, 1 << 47])
def test_nothing_else_is_mapped(pages_1_gib: bool, gva: int) -> None:
    tables = {one.gpa: one.data for one in page_tables(pages_1_gib)}
    assert walk(tables, gva) is None


@pytest.mark.parametrize("pages_1_gib", [True, False])
def test_nothing_in_memory_overlaps(pages_1_gib: bool) -> None:
    taken = [(one.gpa, one.end) for one in page_tables(pages_1_gib)]
    taken += [(layout.GDT_GPA, layout.GDT_GPA + len(GDT)), (layout.IMAGE_GPA, layout.IMAGE_END)]
    taken += [(layout.mailbox_gpa(n), layout.stack_top(n)) for n in range(layout.MAX_VCPUS)]
    taken.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(taken))
    assert taken[0][0] >= layout.RAM_GPA
    assert taken[-1][1] <= layout.RAM_END
