"""Ten of the seeded faults, each in KVM itself: built, swapped in, and noticed by the matrix.

All of them are a matter of hours: tools/mutate_kernel.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvmabi.lab.mutation import record
from kvmabi.lab.mutation.faults import choose, read_faults
from kvmabi.lab.mutation.verdict import Outcome

pytestmark = [pytest.mark.lab, pytest.mark.lab_full, pytest.mark.builds]

TOP = Path(__file__).parents[2]
TEN = (
    "signals-and-exits",
    "missing-exit",
    "reads-answered",
    "ports-searched-in-memory-too",
    "datamatch-without-bit-47",
    "clash-whatever-the-data",
    "fd-before-arguments",
    "new-wildcard-never-clashes",
    "deassign-of-any-eventfd",
    "clash-registers-anyway",
)
DEADLINE_S = 4 * 3600
"""A whole kernel is built first, on two CPUs that have other things to do."""


def test_ten_faults_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    done = subprocess.run(
        [sys.executable, TOP / "tools/mutate_kernel.py", *TEN, "--json", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row.name: row for row in record.read(path)}
    assert list(rows) == list(TEN)
    assert {row.outcome for row in rows.values()} == {Outcome.KILLED}
    for fault in choose(read_faults(TOP / "tools/faults"), TEN):
        row = rows[fault.name]
        assert row.case, "each is seen by a case, and not by a crash"
        assert fault.promise in row.promises, row


def test_the_ten_break_ten_promises() -> None:
    chosen = choose(read_faults(TOP / "tools/faults"), TEN)
    assert len({fault.promise for fault in chosen}) == len(TEN)
