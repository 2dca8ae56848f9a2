"""The fault set as data: what it must hold, and that each fault fits the source that is at hand."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from kvmabi.errors import UsageError
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.play import Player
from kvmabi.ioeventfd.promises import PROMISES, RETURN
from kvmabi.ioeventfd.select import select
from kvmabi.ioeventfd.steps import Case
from kvmabi.lab import cache
from kvmabi.lab.build.patch import apply, tree_version
from kvmabi.lab.mutation.faults import Fault, Needs, read_faults
from kvmabi.lab.mutation.trial import GROUNDS
from tests.unit.ioeventfd.fake_kvm import FakeKvm, FakeRig
from tests.unit.ioeventfd.faults.base import TODAY, WITH_PV_MMIO

TOP = Path(__file__).parents[4]
FAULTS = read_faults(TOP / "tools/faults")
TRIED = (Needs.SVM, Needs.PV_MMIO)
"""Where the whole matrix is played."""
SEEN_BY_A_CASE = [
    one for one in FAULTS if one.must_be_killed and one.needs in TRIED and one.promise != RETURN
]
"""Without the promise that every access and ioctl tries."""


@functools.cache
def tried(case: Case, kernel: Kernel) -> set[int]:
    """The promises that decide what is expected of a case, by a kernel that keeps them."""
    kvm = FakeKvm(kernel)
    player = Player(case, FakeRig(kvm), kvm.kernel)
    assert player.play() == []
    return player.promises


def trees() -> list[Path]:
    """The kernel sources that lab build has unpacked here."""
    found = []
    for path in sorted(cache.folder("sources").glob("[!.]*")):
        try:
            tree_version(path)
        except UsageError:
            continue
        found.append(path)
    return found


SOURCES = trees()


def with_files(names: Iterable[str], source: Path, tree: Path) -> Path:
    """A tree with these files alone, and the version."""
    for name in ("Makefile", *names):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((source / name).read_bytes())
    return tree


def test_there_are_at_least_sixty() -> None:
    assert sum(fault.must_be_killed for fault in FAULTS) >= 60


def test_names_are_their_own() -> None:
    counts = Counter(fault.name for fault in FAULTS)
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_two_make_the_same_change() -> None:
    counts = Counter(fault.patch.edits for fault in FAULTS)
    twins = {edits for edits, count in counts.items() if count > 1}
    assert [fault.name for fault in FAULTS if fault.patch.edits in twins] == []


def test_each_promise_is_broken_where_the_matrix_must_see_it() -> None:
    broken = {one.promise for one in FAULTS if one.must_be_killed and one.needs in TRIED}
    assert broken == PROMISES.keys()


@pytest.mark.parametrize("fault", SEEN_BY_A_CASE, ids=lambda fault: fault.name)
def test_a_fault_is_looked_for_where_its_promise_is_at_stake(fault: Fault) -> None:
    cases = (case for pattern in fault.look for case in select([pattern]))
    kernel = WITH_PV_MMIO if fault.needs is Needs.PV_MMIO else TODAY
    assert any(fault.promise in tried(case, kernel) for case in cases)


def test_there_are_controls() -> None:
    assert sum(bool(fault.harmless) for fault in FAULTS) >= 2


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_looked_for_in_cases_that_there_are(fault: Fault) -> None:
    for pattern in fault.look:
        assert select([pattern])


def test_a_fault_that_is_looked_for_in_part_says_where() -> None:
    partly = [one for one in FAULTS if one.needs in (Needs.VMX, Needs.DEBUG)]
    assert partly
    assert [one.name for one in partly if not one.look] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_sources_at_hand(fault: Fault, tmp_path: Path) -> None:
    if not SOURCES:
        pytest.skip("no kernel source is unpacked here: kvmabi lab build debian:linux-source-6.1")
    for source in SOURCES:
        base = GROUNDS[fault.needs].changes() if fault.needs in GROUNDS else []
        names = {*fault.files, *(name for one in base for name in one.files())}
        tree = with_files(names, source, tmp_path / source.name)
        for one in base:
            one.make(tree)
        before = {name: (tree / name).read_bytes() for name in fault.files}
        apply(fault.patch, tree)
        assert any((tree / name).read_bytes() != data for name, data in before.items())
