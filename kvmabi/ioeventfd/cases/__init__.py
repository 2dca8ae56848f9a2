"""The matrix: every case, pure and with a stable id, in families of one module each."""

from __future__ import annotations

from collections.abc import Iterator

from kvmabi.ioeventfd.cases import (
    arguments,
    descriptors,
    flags,
    hazards,
    machines,
    matching,
    pages,
    phases,
    pv_mmio,
    several,
    spots,
    strings,
)
from kvmabi.ioeventfd.steps import Case

FAMILIES = (
    matching,
    phases,
    flags,
    arguments,
    descriptors,
    several,
    spots,
    strings,
    pages,
    machines,
    pv_mmio,
    hazards,
)


def all_cases() -> Iterator[Case]:
    """Yield every case of the matrix, hazardous ones included, in a fixed order."""
    for family in FAMILIES:
        yield from family.cases()
