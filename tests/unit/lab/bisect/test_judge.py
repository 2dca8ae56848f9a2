from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmabi.errors import BuildFailed, ExitCode, KernelLost, LabUnavailable, UsageError
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.offer import recorded
from kvmabi.lab.bisect.judge import (
    Answer,
    Judgement,
    judge,
    of_error,
    of_exit,
    of_result,
)
from kvmabi.results import CaseRecord, Disagreement, EndRecord, Result, RunRecord, Verdict

GOOD, BAD = Judgement(Answer.GOOD, "as promised"), Judgement(Answer.BAD, "promise 1")
SKIP, ABORT = Judgement(Answer.SKIP, "does not boot"), Judgement(Answer.ABORT, "usage")
KERNEL = Path("kernel")


def judged(*runs: Judgement) -> tuple[Judgement, int, list[str]]:
    """The judgement, how many of the runs were not needed, and what was said."""
    left: Iterator[Judgement] = iter(runs)
    said: list[str] = []

    def run(kernel: Path) -> Judgement:
        assert kernel == KERNEL
        return next(left)

    return judge(lambda: KERNEL, run, said.append), len(list(left)), said


@pytest.mark.parametrize("first", [GOOD, SKIP, ABORT])
def test_one_run_is_enough_unless_it_is_bad(first: Judgement) -> None:
    assert judged(first, GOOD, GOOD) == (first, 2, [])


def test_a_bad_run_counts_when_it_was_bad_three_times_more() -> None:
    found, left, said = judged(BAD, BAD, BAD, BAD, GOOD)
    assert (found, left) == (BAD, 1)
    assert said == ["bad: promise 1", *(f"bad again, {n} of 3" for n in (1, 2, 3))]


@pytest.mark.parametrize("other", [GOOD, SKIP, ABORT])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_commit_that_is_not_bad_each_time_is_flaky(other: Judgement, times: int) -> None:
    found, _, _ = judged(*[BAD] * times, other)
    assert found.answer is Answer.SKIP
    assert found.why.startswith(f"flaky: bad {times} times, then {other.answer.name.lower()}")


def test_a_commit_that_does_not_build_is_skipped_with_the_compilers_word() -> None:
    def build() -> Path:
        raise BuildFailed("make bzImage failed\n  virt/kvm/eventfd.c:9:1: error: expected ';'\n")

    found = judge(build, lambda _: GOOD, print)
    assert found == Judgement(
        Answer.SKIP, "does not build: virt/kvm/eventfd.c:9:1: error: expected ';'"
    )


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (ExitCode.KEPT, Answer.GOOD),
        (ExitCode.BROKEN, Answer.BAD),
        (ExitCode.USAGE, Answer.ABORT),
        (ExitCode.NOTHING_CHECKED, Answer.SKIP),
        (ExitCode.HARNESS_FAILED, Answer.ABORT),
        (130, Answer.ABORT),
        (-9, Answer.ABORT),
    ],
)
def test_an_exit_code_alone(code: int, answer: Answer) -> None:
    assert of_exit(code, "the reason") == Judgement(
        answer, "all as promised" if answer is Answer.GOOD else "the reason"
    )
    assert of_exit(code, "").why


@pytest.mark.parametrize(
    ("error", "answer", "why"),
    [
        (KernelLost("it was not up; words"), Answer.SKIP, "does not boot: it was not up"),
        (
            KernelLost("the machine went down; words", was_up=True),
            Answer.BAD,
            "the kernel is lost: the machine went down",
        ),
        (
            KernelLost("the run was not over after 60 s; words", was_up=True),
            Answer.SKIP,
            "the run was not over after 60 s",
        ),
        (LabUnavailable("no virtio_pci"), Answer.SKIP, "no virtio_pci"),
        (UsageError("no such case"), Answer.ABORT, "no such case"),
    ],
)
def test_a_run_that_did_not_end(error: Exception, answer: Answer, why: str) -> None:
    assert of_error(error) == Judgement(answer, why)


RUN = RunRecord("matrix", "0", "", {}, {}, {}, 2)
WRONG = Disagreement("write", 1, "no exit", "KVM_EXIT_IO write of 4 at 0xc080")


def result(*cases: tuple[Verdict, str], problem: str = "", end: bool = True) -> Result:
    records = [
        CaseRecord(f"c{at}", verdict, 0.1, "pio", "4", "match", (1,), reason)
        for at, (verdict, reason) in enumerate(cases)
    ]
    records = [
        dataclasses.replace(one, disagreements=(WRONG,)) if one.verdict is Verdict.FAIL else one
        for one in records
    ]
    problems = (problem,) if problem else ()
    record = EndRecord(len(cases), len(cases), {}, 1.0, problems=problems)
    return Result(RUN, tuple(records), record if end else None, 0)


PASS, FAIL = (Verdict.PASS, ""), (Verdict.FAIL, "")
ERROR, NO_CAP = (Verdict.ERROR, "a deadline"), (Verdict.SKIP, "no such capability")
WENT = (
    Verdict.ERROR,
    (
        "the kernel under test was lost in this case: the machine went down (exit status 0); the "
        "kernel's last words:\n  ---[ cut here ]---\n  kernel BUG at x.c:1!\n  Oops"
    ),
)
WENT_MUTE = (WENT[0], f"{WENT[1].partition(';')[0]}; the kernel's last words:\n  (none)")
LOST = "the kernel under test was lost after the case c0: the machine went down"
TOO_LONG = "the kernel under test was lost after the case c0: the run was not over after 60 s"
LOGGED = "the kernel's log, before the first case: BUG: sleeping function called"
TAINT = "the kernel's taint went from 0x0 to 0x200, unexplained"


@pytest.mark.parametrize(
    ("found", "answer", "why"),
    [
        (result(PASS, PASS), Answer.GOOD, "2 cases as promised"),
        (
            result(
                (Verdict.KNOWN, "recorded"),
            ),
            Answer.GOOD,
            "1 cases as promised",
        ),
        (
            result(PASS, FAIL),
            Answer.BAD,
            "c1: promise 1, expected: no exit, seen: KVM_EXIT_IO write of 4 at 0xc080",
        ),
        (result(PASS, ERROR, problem=LOST), Answer.BAD, LOST),
        (result(PASS, problem=LOST), Answer.BAD, LOST),
        (
            result(PASS, WENT, problem=LOST),
            Answer.BAD,
            "the kernel is lost in c1: kernel BUG at x.c:1!",
        ),
        (
            result(PASS, WENT_MUTE, problem=LOST),
            Answer.BAD,
            "the kernel is lost in c1: the machine went down (exit status 0)",
        ),
        (result(PASS, ERROR, problem=TOO_LONG), Answer.SKIP, TOO_LONG),
        (result(FAIL, problem=TOO_LONG), Answer.BAD, "c0: promise 1"),
        (result(PASS, problem=LOGGED), Answer.BAD, LOGGED),
        (result(PASS, problem=TAINT), Answer.BAD, TAINT),
        (result(FAIL, ERROR), Answer.BAD, "c0: promise 1"),
        (result(PASS, ERROR), Answer.ABORT, "c1: a deadline"),
        (result(PASS, problem="2 cases were planned and 1 executed"), Answer.ABORT, "2 cases"),
        (result(PASS, end=False), Answer.ABORT, "the run was cut off"),
        (result(NO_CAP, NO_CAP), Answer.SKIP, "nothing could be checked: no such capability"),
        (result(PASS, NO_CAP), Answer.GOOD, "2 cases as promised"),
        (result(), Answer.SKIP, "nothing could be checked: no case ran"),
    ],
)
def test_records_say_what_a_commit_is(found: Result, answer: Answer, why: str) -> None:
    got = of_result(found)
    assert got.answer is answer
    assert got.why.startswith(why)


ABOUT_ANY_LENGTH, ABOUT_FOUR = "match-mmio-len0-any-w4-at0-write", "match-pio-len4-any-w4-at0-write"


@pytest.mark.parametrize(
    ("ids", "any_length", "answer"),
    [
        ([ABOUT_ANY_LENGTH], False, Answer.SKIP),
        ([ABOUT_ANY_LENGTH], True, Answer.GOOD),
        ([ABOUT_FOUR], False, Answer.GOOD),
        ([ABOUT_ANY_LENGTH, ABOUT_FOUR], False, Answer.GOOD),
    ],
)
def test_a_kernel_that_lacks_what_a_case_is_about_is_not_good(ids, any_length, answer) -> None:
    abi = recorded(Kernel(0x1F, "BTF", any_length=any_length, no_length=any_length))
    found = result(*[PASS] * len(ids))
    cases = tuple(
        dataclasses.replace(one, id=name) for one, name in zip(found.cases, ids, strict=True)
    )
    found = dataclasses.replace(found, run=dataclasses.replace(RUN, abi=abi), cases=cases)
    got = of_result(found)
    assert got.answer is answer
    if answer is Answer.SKIP:
        assert got.why.endswith("the kernel has no KVM_CAP_IOEVENTFD_ANY_LENGTH")
