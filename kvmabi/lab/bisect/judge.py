"""What a commit is: good, bad, or nothing that can be told, from its build and its runs."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.errors import BuildFailed, ExitCode, KernelLost, LabUnavailable
from kvmabi.ioeventfd.cases import all_cases
from kvmabi.ioeventfd.offer import from_record, lacking
from kvmabi.lab.collector import LOG_PROBLEM, LOST, TAINT_PROBLEM
from kvmabi.lab.klog import is_finding
from kvmabi.lab.session import NOT_OVER
from kvmabi.results import CaseRecord, Result, Verdict
from kvmabi.results.summary import hex_or_text

CONFIRMATIONS: Final = 3
"""How often a bad run is run again; where one of these is not bad, the commit is flaky."""


class Answer(enum.IntEnum):
    """The exit codes of a step of `git bisect run`. Source: git-bisect(1)."""

    GOOD = 0
    BAD = 1
    SKIP = 125
    """It does not build or boot, lacks what the verb needs, or answers now so, now so."""
    ABORT = 128
    """Nothing can be told of any commit: wrong usage, or the harness failed."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """An answer, and why."""

    answer: Answer
    why: str

    def __str__(self) -> str:
        return f"{self.answer.name.lower()}: {self.why}"


Build = Callable[[], Path]
"""Builds the commit and returns the folder of its kernel; raises BuildFailed."""
Run = Callable[[Path], Judgement]
"""Boots the kernel in that folder, and judges what it does."""
Say = Callable[[str], None]


def judge(build: Build, run: Run, say: Say) -> Judgement:
    """Return what a commit is; a bad run is repeated CONFIRMATIONS times before it counts."""
    try:
        kernel = build()
    except BuildFailed as error:
        return Judgement(Answer.SKIP, f"does not build: {_compilers_word(str(error))}")
    first = run(kernel)
    if first.answer is not Answer.BAD:
        return first
    say(str(first))
    for number in range(1, CONFIRMATIONS + 1):
        again = run(kernel)
        if again.answer is not Answer.BAD:
            return Judgement(Answer.SKIP, f"flaky: bad {number} times, then {again}")
        say(f"bad again, {number} of {CONFIRMATIONS}")
    return first


def _compilers_word(text: str) -> str:
    """Return the line that tells most: the first error, or what failed."""
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in lines if "error:" in line), lines[0])


def of_exit(code: int, told: str) -> Judgement:
    """Return what a run's exit code says, where there are no records; `told` is what it said."""
    match code:
        case ExitCode.KEPT:
            return Judgement(Answer.GOOD, "all as promised")
        case ExitCode.BROKEN:
            return Judgement(Answer.BAD, told or "a promise is broken")
        case ExitCode.NOTHING_CHECKED:
            return Judgement(Answer.SKIP, told or "nothing could be checked")
    return Judgement(Answer.ABORT, told or f"the run ended with exit code {code}")


def of_error(error: Exception) -> Judgement:
    """Return what a run that did not come to its end says.

    A kernel that goes down while the verb runs is bad; one that does not come up tells nothing, and
    neither does one that had too little time.
    """
    first, *_ = str(error).partition(";")
    match error:
        case KernelLost() if first.startswith(NOT_OVER):
            return Judgement(Answer.SKIP, first)
        case KernelLost(was_up=True):
            return Judgement(Answer.BAD, f"the kernel is lost: {first}")
        case KernelLost():
            return Judgement(Answer.SKIP, f"does not boot: {first}")
        case LabUnavailable():
            return Judgement(Answer.SKIP, str(error))
    return Judgement(Answer.ABORT, str(error))


def of_result(result: Result) -> Judgement:
    """Return what a run's records say.

    A broken promise is bad, and so is a kernel that is lost on the way, or whose log or taint tells
    of more than its cases do; a run that had too little time says nothing.
    """
    by = {verdict: [one for one in result.cases if one.verdict is verdict] for verdict in Verdict}
    problems = result.end.problems if result.end else ("the run was cut off",)
    lost = next((one for one in problems if one.startswith(LOST)), "")
    if by[Verdict.FAIL]:
        return Judgement(Answer.BAD, _failure(by[Verdict.FAIL][0]))
    if NOT_OVER in lost:
        return Judgement(Answer.SKIP, lost)
    if lost:
        return Judgement(Answer.BAD, _loss(by[Verdict.ERROR]) or lost)
    if told := [one for one in problems if one.startswith((LOG_PROBLEM, TAINT_PROBLEM))]:
        return Judgement(Answer.BAD, told[0])
    if by[Verdict.ERROR]:
        return Judgement(Answer.ABORT, f"{by[Verdict.ERROR][0].id}: {by[Verdict.ERROR][0].reason}")
    if problems:
        return Judgement(Answer.ABORT, "; ".join(problems))
    if kept := by[Verdict.PASS] + by[Verdict.KNOWN]:
        if lacks := _all_lack(result, kept):
            return Judgement(Answer.SKIP, f"nothing could be checked: the kernel has no {lacks}")
        return Judgement(Answer.GOOD, f"{len(result.cases):,} cases as promised")
    reasons = sorted({case.reason for case in by[Verdict.SKIP]}) or ["no case ran"]
    return Judgement(Answer.SKIP, f"nothing could be checked: {'; '.join(reasons)}")


def _all_lack(result: Result, cases: Sequence[CaseRecord]) -> str:
    """Return what the kernel does not offer, where each of the cases is about something of it."""
    kernel = from_record(result.run.abi)
    if kernel is None:
        return ""
    about = {case.id: case for case in all_cases()}
    lacks = [lacking(about[case.id], kernel) if case.id in about else "" for case in cases]
    return ", ".join(sorted(set(lacks))) if all(lacks) else ""


def _loss(errors: Sequence[CaseRecord]) -> str:
    """Return in which case the kernel was lost, with the line of its last words that tells most."""
    for case in errors:
        if case.reason.startswith(LOST):
            why, *words = case.reason.removeprefix(f"{LOST} in this case: ").splitlines()
            word = next(filter(is_finding, words), why.partition(";")[0]).strip()
            return f"the kernel is lost in {case.id}: {word}"
    return ""


def _failure(case: CaseRecord) -> str:
    if not case.disagreements:
        return case.id
    one = case.disagreements[0]
    expected, seen = hex_or_text(one.expected), hex_or_text(one.seen).partition("\n")[0]
    return f"{case.id}: promise {one.promise}, expected: {expected}, seen: {seen}"
