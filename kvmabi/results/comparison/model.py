"""Two results, case by case: what regressed from the old to the new, and on what terms.

Nothing is read or printed here; `compare` takes two `Result`s and gives a `Comparison`.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from kvmabi.errors import ExitCode, ResultError
from kvmabi.results.comparison.terms import flaws, notes, withdrawn
from kvmabi.results.record import CaseRecord, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kvmabi.results.store import Result


class Kind(enum.StrEnum):
    """What became of a case between two results; in the order in which it is shown."""

    REGRESSED = "regressed"
    """Old kept the promise, or its divergence is on record; new breaks it."""
    FAILING = "failing"
    """New breaks a promise, and old has no verdict to set against it."""
    LOST = "lost"
    """New could not tell: it lost the kernel, the harness failed, or it skips what old judged."""
    DIFFERENT = "different"
    """The same verdict for another reason."""
    CHANGED = "changed"
    """Any other change of the verdict: judged now, on record now."""
    FIXED = "fixed"
    """Old broke the promise, or could not tell; new keeps it."""
    NEW = "new"
    """Only new has the case."""
    GONE = "gone"
    """Only old has the case."""
    SAME = "same"


_K: Final = Kind
_ORDER: Final = (
    *(Verdict.PASS, Verdict.FAIL, Verdict.KNOWN, Verdict.SKIP, Verdict.ERROR),
    None,
)
_KINDS: Final[Mapping[Verdict | None, tuple[Kind, ...]]] = {
    # old:         new: pass, fail, known, skip, error, no such case
    Verdict.PASS: (_K.SAME, _K.REGRESSED, _K.CHANGED, _K.LOST, _K.LOST, _K.GONE),
    Verdict.FAIL: (_K.FIXED, _K.SAME, _K.CHANGED, _K.LOST, _K.LOST, _K.GONE),
    Verdict.KNOWN: (_K.CHANGED, _K.REGRESSED, _K.SAME, _K.LOST, _K.LOST, _K.GONE),
    Verdict.SKIP: (_K.CHANGED, _K.FAILING, _K.CHANGED, _K.SAME, _K.LOST, _K.GONE),
    Verdict.ERROR: (_K.FIXED, _K.FAILING, _K.CHANGED, _K.CHANGED, _K.SAME, _K.GONE),
    None: (_K.NEW, _K.FAILING, _K.NEW, _K.NEW, _K.NEW, _K.SAME),
}
_JUDGED: Final = (Verdict.PASS, Verdict.FAIL, Verdict.KNOWN)


@dataclass(frozen=True, slots=True)
class Pair:
    """One case in both results; None where a result has no such case."""

    id: str
    kind: Kind
    old: CaseRecord | None
    new: CaseRecord | None

    @property
    def transition(self) -> str:
        """The verdicts, as "pass -> fail"; only one where the other side has no such case."""
        return " -> ".join(one.verdict for one in (self.old, self.new) if one is not None)


@dataclass(frozen=True)
class Comparison:
    """All cases of two results, ordered by id, and what differs between the runs themselves."""

    old: Result
    new: Result
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]
    """The terms on which the two runs differ, a sentence each."""
    withdrawn: tuple[str, ...]
    """What old offers to programs and new does not, a sentence each."""

    def of(self, kind: Kind) -> list[Pair]:
        """The cases of one kind, ordered by id."""
        return [pair for pair in self.pairs if pair.kind is kind]

    @cached_property
    def counts(self) -> Counter[Kind]:
        """How many cases there are of each kind."""
        return Counter(pair.kind for pair in self.pairs)

    @property
    def compared(self) -> int:
        """How many cases are in both results."""
        return sum(pair.old is not None and pair.new is not None for pair in self.pairs)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of who asked whether new regressed.

        A new run that is unsound, as it is when its kernel was lost, comes first, as in a run's own
        exit code; then a broken promise that old did not break, so far as is known, or an offer
        that was withdrawn; then all that makes "nothing regressed" too much to say.
        """
        if self.new.end is not None and self.new.end.problems:
            return ExitCode.HARNESS_FAILED
        if not self.compared:
            return ExitCode.NOTHING_CHECKED
        if self.counts[Kind.REGRESSED] or self.counts[Kind.FAILING] or self.withdrawn:
            return ExitCode.BROKEN
        if self._is_short or any(case.verdict is Verdict.ERROR for case in self.new.cases):
            return ExitCode.HARNESS_FAILED
        judged_before = [pair for pair in self.pairs if _is_judged(pair.old)]
        if judged_before and all(_is_judged(pair.new) for pair in judged_before):
            return ExitCode.KEPT
        return ExitCode.NOTHING_CHECKED

    @property
    def _is_short(self) -> bool:
        """Whether cases are missing that a run had planned, and the other run has."""
        missing_in_old = bool(flaws(self.old)) and any(pair.old is None for pair in self.pairs)
        return missing_in_old or bool(flaws(self.new))


def _is_judged(case: CaseRecord | None) -> bool:
    return case is not None and case.verdict in _JUDGED


def compare(old: Result, new: Result) -> Comparison:
    """What changed from the old result to the new; ResultError where they are of two verbs."""
    if old.run.verb != new.run.verb:
        raise ResultError(
            f"results of two verbs cannot be compared: {old.run.verb} and {new.run.verb}"
        )
    before, after = ({case.id: case for case in one.cases} for one in (old, new))
    pairs = tuple(
        _pair(name, before.get(name), after.get(name)) for name in sorted({*before, *after})
    )
    told, gone = (tuple(tell(old.run, new.run)) for tell in (notes, withdrawn))
    return Comparison(old, new, pairs, told, gone)


def _pair(name: str, old: CaseRecord | None, new: CaseRecord | None) -> Pair:
    column = _ORDER.index(new.verdict if new else None)
    kind = _KINDS[old.verdict if old else None][column]
    if old and new and kind is Kind.SAME and _why(old) != _why(new):
        kind = Kind.DIFFERENT
    return Pair(name, kind, old, new)


def _why(case: CaseRecord) -> object:
    """What must be the same for two cases of one verdict to be the same.

    An error's text may name a process or a time. So may the kernel's log (promise 0), which is why
    only that it complained counts of it.
    """
    if case.verdict is Verdict.FAIL:
        return [
            (one.promise, one.step, *((one.expected, one.seen) if one.promise else ()))
            for one in case.disagreements
        ]
    return case.reason if case.verdict in (Verdict.KNOWN, Verdict.SKIP) else ""
