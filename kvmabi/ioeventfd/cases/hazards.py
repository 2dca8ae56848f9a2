"""Cases known to crash kernels that lack a fix: they run only where they are named.

f1edbed787ba (fixed in June 2026, there since 2009): a 16-byte store at page offset 0xffc, whose
second part meets a datamatch registration of 8 bytes, hits a BUG_ON and panics the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvmabi.ioeventfd.cases.build import OPEN_FIRST, PATTERN, Subject, case, run
from kvmabi.ioeventfd.contract import PAGE_SIZE, Bus
from kvmabi.ioeventfd.steps import Access, Base, Case, Place

WHY: Final = "panics a host kernel without f1edbed787ba"
PAGE_END: Final = Place(Base.BAR0, PAGE_SIZE)


def cases() -> Iterator[Case]:
    """Yield the family; what such a store does beyond not crashing is outside the contract."""
    value = PATTERN << 64 | PATTERN
    for before in (4, 2, 1, 7):
        one = Subject(Bus.MMIO, 8, 0).request(PAGE_END)
        yield case(
            "wide-store",
            (f"first{before}",),
            (OPEN_FIRST, one, run(Access(Bus.MMIO, PAGE_END + -before, 16, (value,)))),
            bus=Bus.MMIO,
            length=8,
            hazardous=WHY,
        )
