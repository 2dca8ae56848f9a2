"""The matrix against kernels in software: nothing wrong in faithful ones, all in others."""

from __future__ import annotations

import functools
import gc
from collections import Counter
from collections.abc import Iterator

import pytest
from _pytest.mark import ParameterSet

from kvmabi.ioeventfd.cases import all_cases
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.play import Player
from kvmabi.ioeventfd.steps import Case, GuestRun, Together
from tests.unit.ioeventfd.fake_kvm import FakeKvm, FakeRig
from tests.unit.ioeventfd.faults import (
    arguments,
    clashes,
    deassigns,
    guest,
    life,
    matching,
    pv_mmio,
)
from tests.unit.ioeventfd.faults.base import (
    MMIO_ONLY,
    TODAY,
    WITH_PV_MMIO,
    WITHOUT_CAPABILITIES,
    Fault,
)


def cost(case: Case) -> int:
    runs = [step for step in case.steps if isinstance(step, GuestRun)]
    runs += [run for step in case.steps if isinstance(step, Together) for run in step.runs]
    return case.ioctls + sum(len(run.accesses) for run in runs)


CASES = sorted((case for case in all_cases() if not case.hazardous), key=cost)
SIZES = Counter(case.family for case in CASES)
LONG = 100
SHORT = sorted((case for case in CASES if cost(case) <= LONG), key=lambda case: SIZES[case.family])
"""Cases of few steps, small families first: most faults show in one of them."""
FAULTS = (
    *matching.FAULTS,
    *arguments.FAULTS,
    *clashes.FAULTS,
    *deassigns.FAULTS,
    *guest.FAULTS,
    *life.FAULTS,
    *pv_mmio.FAULTS,
)
NO_CASE_YET: frozenset[str] = frozenset()
"""Faults that no case notices. A row leaves this set with the case that notices it."""


@pytest.fixture(autouse=True, scope="module")
def frozen_cases() -> Iterator[None]:
    """Keep the cases, which stay, out of every garbage collection."""
    gc.freeze()
    yield
    gc.unfreeze()


def disagreeing(kvm: FakeKvm, cases: list[Case]) -> Iterator[str]:
    """Yield the ids of the cases that find something wrong with a kernel."""
    rig = FakeRig(kvm)
    for case in cases:
        if Player(case, rig, kvm.kernel).play():
            yield case.id


@functools.cache
def in_order(families: tuple[str, ...]) -> list[Case]:
    """Return a fault's own families in turn, then the small ones; long cases only of its own."""
    own = sorted(
        (case for case in CASES if case.family in families),
        key=lambda case: families.index(case.family),
    )
    others = [case for case in SHORT if case.family not in families]
    return own + others


def row(fault: Fault) -> ParameterSet:
    missed = pytest.mark.xfail(strict=True, reason="no case yet")
    marks = missed if fault.name in NO_CASE_YET else ()
    return pytest.param(fault, id=fault.name.replace(" ", "-"), marks=marks)


@pytest.mark.parametrize(
    "kernel",
    [TODAY, WITH_PV_MMIO, WITHOUT_CAPABILITIES, MMIO_ONLY],
    ids=["today", "pv-mmio", "without-capabilities", "any-length-on-mmio-alone"],
)
def test_a_faithful_kernel_keeps_every_promise(kernel: Kernel) -> None:
    assert list(disagreeing(FakeKvm(kernel), CASES)) == []


@pytest.mark.parametrize("fault", [row(fault) for fault in FAULTS])
def test_the_matrix_notices(fault: Fault) -> None:
    noticed = next(disagreeing(fault.kvm(fault.kernel), in_order(fault.families)), None)
    assert noticed is not None, f"no case notices: {fault.name} (promise {fault.promise})"


def test_faults_have_names_of_their_own() -> None:
    counts = Counter(fault.name for fault in FAULTS)
    assert [name for name, count in counts.items() if count > 1] == []
    assert counts.keys() >= NO_CASE_YET
