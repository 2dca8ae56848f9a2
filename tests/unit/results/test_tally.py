from __future__ import annotations

import pytest

from kvmabi.errors import ExitCode
from kvmabi.results import Tally, Verdict

P, F, K, S, E = Verdict.PASS, Verdict.FAIL, Verdict.KNOWN, Verdict.SKIP, Verdict.ERROR


def tally_of(make_case, *verdicts: Verdict, planned: int | None = None) -> Tally:
    tally = Tally(len(verdicts) if planned is None else planned)
    tally.add_all(make_case(f"case-{n}", verdict) for n, verdict in enumerate(verdicts))
    return tally


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([P], ExitCode.KEPT),
        ([P, S], ExitCode.KEPT),
        ([P, K], ExitCode.KEPT),
        ([K], ExitCode.KEPT),
        ([F], ExitCode.BROKEN),
        ([P, P, F], ExitCode.BROKEN),
        ([F, S, K], ExitCode.BROKEN),
        ([F, E], ExitCode.BROKEN),
        ([], ExitCode.NOTHING_CHECKED),
        ([S], ExitCode.NOTHING_CHECKED),
        ([S, S], ExitCode.NOTHING_CHECKED),
        ([E], ExitCode.HARNESS_FAILED),
        ([P, E], ExitCode.HARNESS_FAILED),
        ([S, E], ExitCode.HARNESS_FAILED),
    ],
)
def test_the_exit_code_follows_from_the_verdicts(make_case, verdicts, code: ExitCode) -> None:
    assert tally_of(make_case, *verdicts).exit_code() is code


@pytest.mark.parametrize("verdicts", [[P], [F], [S], []])
@pytest.mark.parametrize("planned", [2, 12_345])
def test_fewer_executed_than_planned_is_the_harness(make_case, verdicts, planned: int) -> None:
    tally = tally_of(make_case, *verdicts, planned=planned)
    assert tally.exit_code() is ExitCode.HARNESS_FAILED
    assert tally.problems() == (f"{planned:,} cases were planned and {len(verdicts)} executed",)


def test_more_executed_than_planned_is_the_harness(make_case) -> None:
    tally = tally_of(make_case, P, P, planned=1)
    assert tally.exit_code() is ExitCode.HARNESS_FAILED
    assert tally.exit_code(interrupted=True) is ExitCode.HARNESS_FAILED


@pytest.mark.parametrize("before", [P, F, S, E])
def test_a_revised_case_counts_as_what_it_now_is(make_case, before: Verdict) -> None:
    tally = tally_of(make_case, before, P)
    now = make_case("case-0", F)
    tally.revise(make_case("case-0", before), now)
    assert (tally.verdicts[P], tally.verdicts[F]) == (1, 1)
    assert tally.executed == tally.cells.total() == 2
    assert tally.findings == [now]
    assert not tally.reasons[S]
    assert tally.exit_code() is ExitCode.BROKEN


def test_a_duplicate_id_is_the_harness_and_counts_once(make_case) -> None:
    tally = tally_of(make_case, P, planned=1)
    assert tally.exit_code() is ExitCode.KEPT
    tally.add(make_case("case-0", F))
    assert tally.executed == 1
    assert tally.verdicts[F] == 0
    assert tally.problems() == ("the case case-0 ended twice",)
    assert tally.exit_code() is ExitCode.HARNESS_FAILED


def test_a_duplicate_does_not_stand_in_for_a_lost_case(make_case) -> None:
    tally = tally_of(make_case, P, planned=2)
    tally.add(make_case("case-0"))
    assert len(tally.problems()) == 2


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([P], ExitCode.HARNESS_FAILED),
        ([], ExitCode.HARNESS_FAILED),
        ([S], ExitCode.HARNESS_FAILED),
        ([P, F], ExitCode.BROKEN),
    ],
)
def test_an_interrupted_run_is_never_green(make_case, verdicts, code: ExitCode) -> None:
    tally = tally_of(make_case, *verdicts, planned=9)
    assert tally.exit_code(interrupted=True) is code
    assert tally.problems(interrupted=True) == ()


def test_the_end_record_counts_every_verdict_also_the_zero_ones(make_case) -> None:
    end = tally_of(make_case, P, P, S).end_record(1.25)
    assert end.verdicts == {"pass": 2, "fail": 0, "known": 0, "skip": 1, "error": 0}
    assert (end.planned, end.executed, end.seconds) == (3, 3, 1.25)
    assert not end.interrupted
    assert end.problems == ()


def test_the_cells_and_reasons_add_up(make_case) -> None:
    tally = Tally(3)
    tally.add(make_case("a", bus="pio", length="0"))
    tally.add(make_case("b", S, bus="pio", length="0"))
    tally.add(make_case("c", F))
    assert tally.cells == {
        ("pio", "0", "assigned", P): 1,
        ("pio", "0", "assigned", S): 1,
        ("mmio", "4", "assigned", F): 1,
    }
    assert tally.reasons[S] == {"no such capability": 1}
    assert [case.id for case in tally.findings] == ["c"]
