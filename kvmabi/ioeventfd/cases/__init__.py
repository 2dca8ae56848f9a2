"""The matrix: every case, pure and with a stable id, in families of one module each."""

from __future__ import annotations

import functools

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


@functools.cache
def all_cases() -> tuple[Case, ...]:
    """Return every case of the matrix, hazardous ones included, in a fixed order; made once."""
    return tuple(case for family in FAMILIES for case in family.cases())
