"""A run in which every case ends in error gives up, and one that can tell something does not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kvmabi import matrix
from kvmabi.errors import ExitCode
from kvmabi.ioeventfd.cases import all_cases
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.worker import Report
from kvmabi.results import read_result

CASES = all_cases()[: 3 * matrix.HOPELESS]
KERNEL = Kernel(0x1F, "a test", any_length=True, no_length=True, pv_mmio=0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run the matrix where these cases end well and all others in error; return code and result."""

    def run(well: Sequence[int]):
        class FakeSupervisor:
            notes: Sequence[str] = ()

            def __init__(self, *_: object, **__: object) -> None:
                """Start nothing."""

            def run(self, _ended: object) -> Iterator[list[Report]]:
                for number in range(len(CASES)):
                    error = "" if number in well else "vCPU 0 did not leave KVM_RUN within 10 s"
                    yield [Report(number, 0.0, (1,), error=error)]

        monkeypatch.setattr(matrix, "Supervisor", FakeSupervisor)
        path = tmp_path / "result.jsonl"
        names = {"json": str(path), "resume": None, "jobs": 1, "filter": [], "first": []}
        args = argparse.Namespace(**names, fail_fast=False)
        return matrix._run_all(CASES, KERNEL, args), read_result(path)

    return run


def test_where_nothing_can_be_told_the_rest_is_left(run) -> None:
    code, result = run(())
    assert code == ExitCode.HARNESS_FAILED
    assert len(result.cases) == matrix.HOPELESS
    assert result.end.interrupted
    (problem,) = result.end.problems
    assert problem.startswith("the first 12 cases all ended in error, and the rest was left: vCPU")


@pytest.mark.parametrize("well", [0, matrix.HOPELESS - 1])
def test_one_case_that_tells_something_is_enough_to_go_on(run, well: int) -> None:
    code, result = run((well,))
    assert code == ExitCode.HARNESS_FAILED
    assert len(result.cases) == len(CASES)
    assert not result.end.problems
