"""Two runs, side by side where there is more than one CPU, each with its result in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.errors import ResultError
from kvmabi.lab.child import Child, Task
from kvmabi.results import CaseRecord, RunRecord, Tally
from kvmabi.results.record import from_line

TICK_S: Final = 0.2
Starter = Callable[[Task], Child]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: the kernel that it is about, its run, and the result that this writes."""

    kernel: str
    task: Task
    result: Path

    @property
    def has_result(self) -> bool:
        """Whether the run came so far that there is something to compare."""
        return self.result.is_file() and self.result.stat().st_size > 0


def play(
    sides: Iterable[Side],
    *,
    watch: Callable[[], None] = lambda: None,
    at_once: int | None = None,
    start: Starter = Child,
) -> dict[str, int]:
    """Run all, `at_once` at a time (as many as there are CPUs), and return exit codes by name.

    `watch` is called every TICK_S. Once a run has ended without a result, the others are ended too
    and have no exit code, since there is nothing to compare any more. However this function is
    left, no run is left behind.
    """
    waiting = list(sides)
    most = at_once or len(os.sched_getaffinity(0))
    ended: dict[str, int] = {}
    with ExitStack() as stack:
        running: list[tuple[Side, Child]] = []
        while waiting or running:
            while waiting and len(running) < most:
                side = waiting.pop(0)
                running.append((side, stack.enter_context(start(side.task))))
            for side, child in list(running):
                code = child.poll()
                if code is None:
                    continue
                running.remove((side, child))
                ended[side.task.name] = code
                if not side.has_result:
                    return ended
            watch()
            if running:
                time.sleep(TICK_S)
    return ended


class Follower:
    """Reads a result while it is written; `tally` counts what it has read, once there is a plan."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.tally: Tally | None = None

    def look(self) -> None:
        """Read what has been added; what is no record (yet) counts for nothing."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data.rfind(b"\n") + 1
        self._read += whole
        for line in data[:whole].splitlines():
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            record = from_line(line)
        except ResultError:
            return
        if isinstance(record, RunRecord):
            self.tally = Tally(record.planned)
        elif isinstance(record, CaseRecord) and self.tally is not None:
            self.tally.add(record)
