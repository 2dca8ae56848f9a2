"""The count of a run's verdicts, the check of its bookkeeping, and the exit code that follows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from kvmabi.errors import ExitCode
from kvmabi.results.record import CaseRecord, EndRecord, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

_JUDGED: Final = (Verdict.PASS, Verdict.FAIL, Verdict.KNOWN)
"""The verdicts that say something about the kernel."""
FINDINGS: Final = (Verdict.FAIL, Verdict.ERROR)
"""The verdicts of cases that are shown one by one."""


class Tally:
    """Counts ended cases against the plan. `planned` is the whole plan, resumed cases included."""

    def __init__(self, planned: int) -> None:
        self.planned = planned
        self.verdicts: Counter[Verdict] = Counter()
        self.reasons: dict[Verdict, Counter[str]] = {
            Verdict.SKIP: Counter(),
            Verdict.KNOWN: Counter(),
        }
        self.cells: Counter[tuple[str, str, str, Verdict]] = Counter()
        self.findings: list[CaseRecord] = []
        self._ids: set[str] = set()
        self._duplicates: list[str] = []
        self._problems: list[str] = []

    def add(self, case: CaseRecord) -> None:
        """Count one ended case. An id that ended before is a problem of the harness."""
        if case.id in self._ids:
            self._duplicates.append(case.id)
            return
        self._ids.add(case.id)
        self._count(case, 1)
        if case.verdict in FINDINGS:
            self.findings.append(case)

    def revise(self, before: CaseRecord, case: CaseRecord) -> None:
        """Count an ended case as another record of it says, instead of the one before."""
        self._count(before, -1)
        self._count(case, 1)
        if before.verdict in FINDINGS:
            self.findings.remove(before)
        if case.verdict in FINDINGS:
            self.findings.append(case)

    def _count(self, case: CaseRecord, times: int) -> None:
        self.verdicts[case.verdict] += times
        self.cells[case.bus, case.len, case.phase, case.verdict] += times
        if case.verdict in self.reasons:
            self.reasons[case.verdict][case.reason] += times
            self.reasons[case.verdict] += Counter()  # without those that are no longer there

    def add_all(self, cases: Iterable[CaseRecord]) -> None:
        """Count several ended cases."""
        for case in cases:
            self.add(case)

    def add_problem(self, text: str) -> None:
        """Note something wrong with the run itself, a sentence."""
        self._problems.append(text)

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the cases that have a verdict."""
        return frozenset(self._ids)

    @property
    def executed(self) -> int:
        """The number of cases that have a verdict."""
        return len(self._ids)

    def problems(self, *, interrupted: bool = False) -> tuple[str, ...]:
        """What is wrong with the run's own bookkeeping, one sentence each; empty if it is sound."""
        found = [*self._problems, *(f"the case {one} ended twice" for one in self._duplicates)]
        short = self.executed < self.planned and not interrupted
        if short or self.executed > self.planned:
            found.append(f"{self.planned:,} cases were planned and {self.executed:,} executed")
        return tuple(found)

    def exit_code(self, *, interrupted: bool = False) -> ExitCode:
        """The exit code of the run, and of whoever reads its result.

        Unsound bookkeeping comes first, since then no verdict can be trusted; then a broken
        promise, which stands whatever else happened; then what could not be judged. An interrupted
        run has not checked what it planned, so it is never green.
        """
        if self.problems(interrupted=interrupted):
            return ExitCode.HARNESS_FAILED
        if self.verdicts[Verdict.FAIL]:
            return ExitCode.BROKEN
        if self.verdicts[Verdict.ERROR] or interrupted:
            return ExitCode.HARNESS_FAILED
        if not any(self.verdicts[verdict] for verdict in _JUDGED):
            return ExitCode.NOTHING_CHECKED
        return ExitCode.KEPT

    def end_record(self, seconds: float, *, interrupted: bool = False) -> EndRecord:
        """The end record of this run, with every verdict counted, also the zero ones."""
        return EndRecord(
            planned=self.planned,
            executed=self.executed,
            verdicts={str(verdict): self.verdicts[verdict] for verdict in Verdict},
            seconds=round(seconds, 3),
            interrupted=interrupted,
            problems=self.problems(interrupted=interrupted),
        )
