"""How far two runs are, a line each on a terminal; nothing off one."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from kvmabi.lab.pair import Follower, Side
from kvmabi.results import Tally
from kvmabi.results.summary import verdict_counts


class PairProgress:
    """Draws each side's line when `refresh` is called; a context manager."""

    def __init__(self, sides: Sequence[Side], *, console: Console | None = None) -> None:
        console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._followed: list[tuple[TaskID, Follower]] = []
        if console.is_terminal and not console.is_dumb_terminal:
            self._bar = _make_bar(console)
            self._followed = [(_add(self._bar, side), Follower(side.result)) for side in sides]

    def refresh(self) -> None:
        """Read on in the results, and redraw."""
        if self._bar is None:
            return
        for task, follower in self._followed:
            follower.look()
            if follower.tally is not None:
                _update(self._bar, task, follower.tally)
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


def _make_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("[bold]{task.fields[side]}"),
        TextColumn("{task.fields[kernel]}", markup=False),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[verdicts]}", table_column=Column(no_wrap=True)),
        console=console,
        auto_refresh=False,
        transient=True,
        expand=True,
    )


def _add(bar: Progress, side: Side) -> TaskID:
    return bar.add_task(
        "", total=None, side=side.task.name, kernel=side.kernel, count="", verdicts="starting"
    )


def _update(bar: Progress, task: TaskID, tally: Tally) -> None:
    bar.update(
        task,
        total=tally.planned,
        completed=tally.executed,
        count=f"{tally.executed:,}/{tally.planned:,}",
        verdicts=verdict_counts(tally.verdicts).plain,
    )
