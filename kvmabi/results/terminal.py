"""The live progress of a run and its closing summary, on a terminal and off one.

Progress is drawn by whoever feeds it: there is no thread. It goes to standard error, and only
where that is a terminal. The summary goes to standard output, or to standard error where machine
output owns standard output. rich keeps to NO_COLOR and to the width of the terminal.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from kvmabi.results import summary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import TextIO

    from kvmabi.results.record import RunRecord
    from kvmabi.results.tally import Tally

REFRESH_S: Final = 0.1
"""The least time between two pictures of the progress bar."""

OFF_TERMINAL_WIDTH: Final = 120
"""How wide tables may be where the output is no terminal."""

FINDINGS_SHOWN: Final = 20
"""How many findings the summary shows; the result file has them all."""


class _Rate(ProgressColumn):
    """Cases per second over the last while, so that it shows the present."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="cyan")


class _Verdicts(ProgressColumn):
    """The verdicts so far."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._tally = tally

    def render(self, task: Task) -> Text:
        return summary.verdict_counts(self._tally.verdicts)


class LiveProgress:
    """A progress bar with cases a second and verdict counts, drawn when `refresh` is called.

    Off a terminal it does nothing at all. `already` cases ended in an earlier part of the run.
    """

    def __init__(self, title: str, tally: Tally, *, console: Console | None = None) -> None:
        self._tally = tally
        self._next_draw = 0.0
        console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._bar = self._make_bar(title, console)

    def _make_bar(self, title: str, console: Console) -> Progress:
        bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            _Rate(),
            TimeRemainingColumn(compact=True),
            _Verdicts(self._tally),
            console=console,
            auto_refresh=False,
            transient=True,
            expand=True,
        )
        self._task = bar.add_task(title, total=self._tally.planned, completed=self._tally.executed)
        return bar

    def refresh(self, *, force: bool = False) -> None:
        """Redraw if the last picture is older than REFRESH_S; cheap enough to call per record."""
        if self._bar is None:
            return
        now = time.monotonic()
        if now < self._next_draw and not force:
            return
        self._next_draw = now + REFRESH_S
        self._bar.update(self._task, completed=self._tally.executed)
        self._bar.refresh()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def summary_console(file: TextIO | None = None, *, stderr: bool = False) -> Console:
    """The console for a summary: as wide as the terminal, or OFF_TERMINAL_WIDTH off one."""
    console = Console(file=file, stderr=stderr, highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console = Console(
            file=file,
            stderr=stderr,
            highlight=False,
            emoji=False,
            markup=False,
            width=OFF_TERMINAL_WIDTH,
        )
    return console


def _print_findings(
    console: Console, tally: Tally, promises: Mapping[int, str], repro: str
) -> None:
    found = summary.findings_in_order(tally)
    for case in found[:FINDINGS_SHOWN]:
        for piece in summary.finding_lines(case, promises, repro):
            # A line of text can be copied whole; a table is laid out to the width.
            console.print(piece, soft_wrap=isinstance(piece, Text))
        console.print()
    if len(found) > FINDINGS_SHOWN:
        more = len(found) - FINDINGS_SHOWN
        console.print(f"and {more:,} more; a result file has them all (--json FILE)\n")


def print_summary(
    console: Console,
    run: RunRecord,
    tally: Tally,
    seconds: float,
    *,
    promises: Mapping[int, str],
    repro: str,
    interrupted: bool = False,
) -> None:
    """Print the tables, the findings, what is wrong with the bookkeeping, and the closing line."""
    if tally.executed:
        console.print(summary.bus_by_len_table(tally))
        console.print()
        console.print(summary.phase_table(tally))
        console.print()
    _print_findings(console, tally, promises, repro)
    for problem in tally.problems(interrupted=interrupted):
        console.print(Text.assemble(("harness: ", "bold red"), problem), soft_wrap=True)
    if not tally.planned:
        console.print(Text("no case was chosen, so nothing was checked"), soft_wrap=True)
    closing = summary.closing_line(run, tally, seconds, interrupted=interrupted)
    console.print(closing, soft_wrap=True)
