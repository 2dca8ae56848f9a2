"""What a run's result says of a fault: nothing is a kill but a failure of the kernel's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvmabi.errors import KernelLost
from kvmabi.lab.collector import Collector, Terms, lost_case
from kvmabi.lab.frames import Frame, Kind
from kvmabi.lab.mutation.verdict import Judgement, Outcome, judge, recurring
from kvmabi.lab.session import NOT_OVER
from kvmabi.results import Disagreement, Verdict
from kvmabi.results.record import CaseRecord, EndRecord, RunRecord, to_line
from kvmabi.results.store import Result, read_result

RUN = RunRecord("matrix", "0", "2026-01-01T00:00:00+00:00", {}, {}, {}, 3)
BROKEN = Disagreement("write 4 bytes", 4, "no exit", "KVM_EXIT_MMIO")


def case(name: str, verdict: Verdict = Verdict.PASS, **fields: object) -> CaseRecord:
    found = (BROKEN,) if verdict is Verdict.FAIL else ()
    record = CaseRecord(name, verdict, 0.1, "mmio", "4", "assigned", (1,), disagreements=found)
    return CaseRecord(**{**{key: getattr(record, key) for key in record.__slots__}, **fields})


def result(*cases: CaseRecord, problems: tuple[str, ...] = (), planned: int = 3) -> Result:
    return Result(RUN, cases, EndRecord(planned, len(cases), {}, 1.0, problems=problems), 0)


def test_a_failed_case_kills() -> None:
    found = judge(1, result(case("a"), case("b", Verdict.FAIL)), "")
    assert (found.outcome, found.case, found.promises, found.executed) == (
        Outcome.KILLED,
        "b",
        (4,),
        2,
    )
    assert found.text == "write 4 bytes: no exit; seen: KVM_EXIT_MMIO"


def test_of_several_failed_cases_the_one_kills_that_saw_the_promise_broken() -> None:
    other = replace(BROKEN, promise=7)
    cases = case("a", Verdict.FAIL, disagreements=(other,)), case("b", Verdict.FAIL)
    assert judge(1, result(*cases), "", 4).case == "b"
    assert judge(1, result(*cases), "", 9).case == "a"


def test_every_promise_that_a_case_saw_broken_is_told() -> None:
    both = case("a", Verdict.FAIL, disagreements=(replace(BROKEN, promise=7), BROKEN, BROKEN))
    assert judge(1, result(both), "").promises == (4, 7)


def test_a_run_without_a_failure_is_survived() -> None:
    found = judge(0, result(case("a"), case("b"), case("c")), "")
    assert (found.outcome, found.case, found.executed) == (Outcome.SURVIVED, "", 3)


def lost_result(tmp_path: Path, why: str, running: str) -> Result:
    """What the collector makes of a kernel that goes in a case."""
    path = tmp_path / "result.jsonl"
    with Collector(Terms(str(path), "", {})) as collector:
        collector.take(Frame(Kind.RECORDS, to_line(RUN) + to_line(case("a"))))
        collector.lost(KernelLost(why), running)
        collector.close()
    return read_result(path)


WORDS = "the machine went down; the kernel's last words:\n  kvmabi: case b\n  BUG: unable to handle"


def test_a_kernel_that_goes_in_a_case_kills(tmp_path: Path) -> None:
    found = judge(4, lost_result(tmp_path, WORDS, "b"), "")
    assert (found.outcome, found.case, found.promises) == (Outcome.KILLED, "b", ())
    assert found.text == "lost: BUG: unable to handle"


def test_a_kernel_that_goes_between_cases_kills(tmp_path: Path) -> None:
    found = judge(4, lost_result(tmp_path, WORDS, ""), "")
    assert (found.outcome, found.case) == (Outcome.KILLED, "")
    assert "after the case a" in found.text


def test_a_run_that_took_too_long_says_nothing(tmp_path: Path) -> None:
    why = f"{NOT_OVER} 60 s; the kernel's last words:\n  kvmabi: case b"
    assert judge(4, lost_result(tmp_path, why, "b"), "").outcome is Outcome.INVALID


CASE = Judgement(Outcome.KILLED, "b", (4,), "no exit", 2)
LOG = Judgement(Outcome.KILLED, "b", (0,), "self-detected stall", 2)
LOSS = Judgement(Outcome.KILLED, text="lost: nothing came from it")


def test_what_only_the_log_or_a_loss_tells_may_be_chance() -> None:
    assert LOG.may_be_chance
    assert LOSS.may_be_chance
    assert not CASE.may_be_chance
    assert not replace(CASE, promises=(0, 4)).may_be_chance
    assert not Judgement(Outcome.INVALID, text="lost").may_be_chance


def test_what_happens_twice_is_none_and_what_a_case_sees_counts() -> None:
    assert recurring(LOG, LOSS) is LOG
    assert recurring(LOSS, CASE) is CASE
    for again in (Judgement(Outcome.SURVIVED, executed=9), Judgement(Outcome.INVALID, text="odd")):
        judged = recurring(LOG, again)
        assert judged.outcome is Outcome.INVALID
        assert judged.text == f"self-detected stall; when run again: {again.text or 'survived'}"


def test_what_the_log_tells_late_kills() -> None:
    leak = "the kernel's log, too late for the case b: unreferenced object"
    found = judge(4, result(case("a"), case("b"), case("c"), problems=(leak,)), "")
    assert (found.outcome, found.promises) == (Outcome.KILLED, (0,))


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (3, None),
        (4, result(case("a"), case("b", Verdict.ERROR, reason="no memory"), case("c"))),
        (4, result(case("a"), problems=("3 cases were planned and 1 executed",))),
        (4, Result(RUN, (case("a"),), None, 0)),
        (3, result(*(case(name, Verdict.SKIP, reason="no") for name in "abc"))),
    ],
)
def test_a_run_of_which_nothing_follows_is_invalid(code: int, found: Result | None) -> None:
    judged = judge(code, found, "kvmabi: something was missing\n")
    assert judged.outcome is Outcome.INVALID
    assert judged.text


def test_a_lost_case_is_told_by_its_reason() -> None:
    assert lost_case("b", KernelLost("x")).reason.startswith("the kernel under test was lost")


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        ("the kernel's log, before the first case: BUG: x", Outcome.KILLED),
        ("the kernel's taint went from 0x0 to 0x200, unexplained", Outcome.KILLED),
        ("messages of the kernel's are lost: its log ran over 2 times", Outcome.INVALID),
    ],
)
def test_what_the_log_or_the_taint_tells_outside_of_cases_kills(problem: str, outcome) -> None:
    found = judge(4, result(case("a"), problems=("something of the harness's", problem)), "")
    assert found.outcome is outcome
    assert judge(4, result(case("a"), problems=(problem,)), "").outcome is outcome
