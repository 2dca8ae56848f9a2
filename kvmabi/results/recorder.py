"""One run's bookkeeping in one place: file, tally, progress, summary and exit code."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from kvmabi.results.record import Verdict
from kvmabi.results.store import STDOUT, Writer, check_resumable, read_result
from kvmabi.results.tally import Tally
from kvmabi.results.terminal import LiveProgress, print_summary, summary_console

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from kvmabi.errors import ExitCode
    from kvmabi.results.record import CaseRecord, Json, RunRecord


class Recorder:
    """Records a run from its first case to its exit code; a context manager.

    ::

        with Recorder(run, json="out.jsonl", promises=PROMISES) as recorder:
            for case in plan:
                if case.id not in recorder.ended_ids:
                    recorder.add(judge(case))
        return recorder.exit_code

    `json` is the result file, "-" for standard output, or None for no file. `resume` is the file
    of an earlier part of the same run: it is appended to, and its cases count, but for those in
    error, which are to run again. `repro` is the
    command that takes a case's id; `resumable` is whether the run takes --resume. Leaving the block
    writes the end record and prints the summary, also after Ctrl-C or an error, which pass on.
    """

    def __init__(
        self,
        run: RunRecord,
        *,
        json: str | None = None,
        resume: str | None = None,
        promises: Mapping[int, str] | None = None,
        repro: str = "",
        resumable: bool = True,
    ) -> None:
        self.run = run
        self.tally = Tally(run.planned)
        self.exit_code: ExitCode
        self._promises = promises or {}
        self._repro = repro or f"kvmabi {run.verb} --repro"
        self._resumable = resumable
        self._seconds_before = 0.0
        self._notes: dict[str, Json] = {}
        self._cut_short = False
        self._writer = self._resume(resume) if resume else self._start(json)
        self.ended_ids = self.tally.ids
        self._stderr = json == STDOUT
        self._progress = LiveProgress(run.verb, self.tally)

    def _start(self, json: str | None) -> Writer | None:
        if json is None:
            return None
        writer = Writer(json)
        writer.write(self.run)
        return writer

    def _resume(self, path: str) -> Writer:
        before = read_result(path)
        check_resumable(before.run, self.run)
        self.tally.add_all(case for case in before.cases if case.verdict is not Verdict.ERROR)
        self._seconds_before = before.seconds
        return Writer(path, keep_bytes=before.whole_bytes)

    def add(self, *cases: CaseRecord) -> None:
        """Record ended cases: one write of whole lines for all of them, then count and redraw."""
        if self._writer is not None and cases:
            self._writer.write(*cases)
        self.tally.add_all(cases)
        self.refresh()

    def revise(self, before: CaseRecord, case: CaseRecord) -> None:
        """Record an ended case anew: what `before` said of it no longer counts."""
        if self._writer is not None:
            self._writer.write(replace(case, revised=True))
        self.tally.revise(before, case)
        self.refresh()

    def problem(self, text: str) -> None:
        """Note something wrong with the run itself, which makes its verdict the harness's."""
        self.tally.add_problem(text)

    def note(self, name: str, value: Json) -> None:
        """Keep something about the whole run in its end record."""
        self._notes[name] = value

    def cut_short(self) -> None:
        """Note that the run ends before its plan on purpose: then it counts as interrupted."""
        self._cut_short = True

    def refresh(self) -> None:
        """Redraw the progress, and sync; for a loop that waits while no case ends."""
        if self._writer is not None:
            self._writer.sync_if_due()
        self._progress.refresh()

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        interrupted = kind is not None or self._cut_short
        seconds = self._seconds_before + time.monotonic() - self._started
        self.exit_code = self.tally.exit_code(interrupted=interrupted)
        try:
            self._write_end(seconds, interrupted=interrupted)
        finally:
            self._print_summary(seconds, interrupted=interrupted)

    def _write_end(self, seconds: float, *, interrupted: bool) -> None:
        if self._writer is not None:
            with self._writer as writer:
                end = self.tally.end_record(seconds, interrupted=interrupted)
                writer.write(replace(end, notes=self._notes) if self._notes else end)

    def _print_summary(self, seconds: float, *, interrupted: bool) -> None:
        console = summary_console(stderr=self._stderr)
        print_summary(
            console,
            self.run,
            self.tally,
            seconds,
            promises=self._promises,
            repro=self._repro,
            interrupted=interrupted,
        )
        can_go_on = self._resumable and self._writer is not None and not self._stderr
        if interrupted and self._writer is not None and can_go_on:
            again = f"kvmabi {self.run.verb} --resume {self._writer.path}"
            console.print(f"to go on from here: {again}", soft_wrap=True)
