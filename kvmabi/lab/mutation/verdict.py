"""What became of a fault: judged by the lab's result of one run, and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kvmabi.errors import ExitCode
from kvmabi.lab.collector import CLEAN_LOG, LOG_PROBLEM, LOST, TAINT_PROBLEM
from kvmabi.lab.session import NOT_OVER
from kvmabi.results import CaseRecord, Verdict
from kvmabi.results.store import Result


class Outcome(StrEnum):
    """What became of a fault."""

    KILLED = "killed"
    """A case saw a promise broken, or twice the kernel's log told or the kernel was lost."""
    SURVIVED = "survived"
    """Every case that was played was as promised."""
    NOT_BUILT = "does not build"
    INVALID = "invalid"
    """It does not apply, or its run says nothing: the harness is at fault, or the base kernel."""
    NOT_RUN = "not run"
    """This machine's run has no means to see it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome, with what led to it.

    `case` is the killing one ("" where the kernel went between cases), `promises` are the numbers
    that it saw broken (0: the kernel's log; none where the kernel was lost), `executed` is how many
    cases had ended.
    """

    outcome: Outcome
    case: str = ""
    promises: tuple[int, ...] = ()
    text: str = ""
    executed: int = 0

    @property
    def may_be_chance(self) -> bool:
        """Whether it is a kill that saw no promise broken: the log told, or the kernel went.

        A busy machine does both: a stall, a silence, an emulator that is out of memory.
        """
        return self.outcome is Outcome.KILLED and not any(self.promises)


LONGEST: Final = 200
"""How much of a disagreement is kept."""


def judge(code: int, result: Result | None, said: str, promise: int = 0) -> Judgement:
    """Return what a run says of a fault that is to break `promise`.

    `code` is the lab's exit code, `result` what it wrote (None for nothing), and `said` its
    standard error. Of several cases that failed, the one kills that saw that promise broken.
    """
    if result is None:
        lines = [line for line in said.splitlines() if line.strip()]
        return Judgement(Outcome.INVALID, text=lines[0] if lines else f"exit code {code}")
    executed = len(result.cases)
    failed = [case for case in result.cases if case.verdict is Verdict.FAIL]
    if failed:
        telling = [case for case in failed if promise in _broken(case)]
        return _killed((telling or failed)[0], executed)
    problems = list(result.end.problems) if result.end else ["the run was cut off"]
    if lost := _lost(result, problems):
        return lost
    if told := [one for one in problems if one.startswith((LOG_PROBLEM, TAINT_PROBLEM))]:
        return Judgement(Outcome.KILLED, "", (CLEAN_LOG,), _short(told[0]), executed)
    if code == ExitCode.KEPT and not problems:
        return Judgement(Outcome.SURVIVED, executed=executed)
    errors = [case.reason for case in result.cases if case.verdict is Verdict.ERROR]
    why = next(iter(errors + problems), f"exit code {code}")
    return Judgement(Outcome.INVALID, text=_short(why), executed=executed)


def recurring(first: Judgement, again: Judgement) -> Judgement:
    """Return what two runs say together, of which the first may be chance: nothing, if it was."""
    if again.outcome is Outcome.KILLED:
        return first if again.may_be_chance else again
    text = _short(f"{first.text}; when run again: {again.text or again.outcome}")
    return Judgement(Outcome.INVALID, first.case, first.promises, text, again.executed)


def _killed(case: CaseRecord, executed: int) -> Judgement:
    first = case.disagreements[0]
    text = _short(f"{first.step}: {first.expected}; seen: {first.seen}")
    return Judgement(Outcome.KILLED, case.id, _broken(case), text, executed)


def _broken(case: CaseRecord) -> tuple[int, ...]:
    return tuple(sorted({each.promise for each in case.disagreements}))


def _lost(result: Result, problems: list[str]) -> Judgement | None:
    """Return how the kernel went, where it did; a run that took too long says nothing."""
    told = next((text for text in problems if text.startswith(LOST)), None)
    if told is None:
        return None
    running = [case for case in result.cases if case.reason.startswith(LOST)]
    outcome = Outcome.INVALID if NOT_OVER in told else Outcome.KILLED
    case = running[0].id if running else ""
    text = _short(_words(running[0].reason) if running else told)
    return Judgement(outcome, case, (), f"lost: {text}", len(result.cases))


def _words(reason: str) -> str:
    """Return the kernel's last word about what went wrong, else why it counts as lost."""
    lines = [line.strip() for line in reason.splitlines()]
    telling = [line for line in lines if any(word in line for word in _TELLING)]
    return telling[0] if telling else lines[0].rpartition(": ")[2]


_TELLING: Final = ("BUG", "Oops", "protection fault", "Kernel panic", "refcount_t")


def _short(text: str) -> str:
    return " ".join(text.split())[:LONGEST]
