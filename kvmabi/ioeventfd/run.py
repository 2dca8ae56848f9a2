"""Many cases: what is handed to which worker, and what becomes of cases whose worker hangs or dies.

The supervisor hands out case numbers and yields reports as they come. It has no threads, so that a
worker can be forked anew at any time. A worker plays many cases at once, so that one which dies or
hangs leaves suspects, not a culprit: they are played again, each alone in a process of its own,
and only what goes wrong there is the case's.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import replace
from typing import Final

from kvmabi.errors import KvmAbiError
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.compare import Disagreement
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.fds import ensure_fds, fds_needed, threads_that_fit
from kvmabi.ioeventfd.process import WorkerProcess, interrupts_held
from kvmabi.ioeventfd.steps import Case
from kvmabi.ioeventfd.worker import Report

CASE_DEADLINE_S: Final = 120.0
IOCTL_DEADLINE_S: Final = 0.05
"""How much longer a case may take for each KVM_IOEVENTFD that it makes."""
VMS_EACH: Final = 48
"""How many VMs a worker process plays side by side."""
TICK_S: Final = 0.2
STANDSTILL_S: Final = 2.0
"""A round of the supervisor that takes longer was stopped (Ctrl-Z, suspend, whoever takes its
reports): that time is nobody's, as the workers may have been stopped too."""
BARREN_ENDS: Final = 3
"""So many workers in a row that end before any case has are no accident."""


def deadline_s(case: Case) -> float:
    """Return after how many seconds a case that has not ended is given up."""
    return CASE_DEADLINE_S + IOCTL_DEADLINE_S * case.ioctls


def default_jobs() -> int:
    """Return how many VMs to run side by side on this machine."""
    return VMS_EACH * len(os.sched_getaffinity(0))


class Supervisor:
    """Runs cases on `jobs` VMs at a time, over at most as many processes as there are CPUs.

    Without `jobs` there are as many VMs as the limit of open files allows, at most `default_jobs`.
    `order` has the cases' numbers as they are to start; without it, costly ones come first.
    `notes` has what a user should know of that and of lost workers, a line each. Raises UsageError
    where the limit is too low.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        kernel: Kernel,
        *,
        jobs: int | None = None,
        order: Sequence[int] | None = None,
    ) -> None:
        self.notes: list[str] = []
        wanted = jobs or default_jobs()
        processes = min(wanted, len(os.sched_getaffinity(0)), max(len(cases), 1))
        threads = max(1, min(wanted // processes, len(cases) // processes + 1))
        fitting = threads_that_fit()
        if jobs is None and 1 <= fitting < threads:
            self.notes.append(
                f"the limit of open files allows {processes * fitting} VMs side by side, "
                f"not {processes * threads} (ulimit -Hn {fds_needed(threads)} allows them all)"
            )
            threads = fitting
        ensure_fds(threads)
        self._cases = cases
        self._order = costly_first(cases) if order is None else order
        self._kernel = kernel
        self._processes = processes
        self._threads = threads
        self._waiting: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._hung_before: dict[int, float] = {}
        self._barren_ends = 0
        self._looked = self._judge_at = time.monotonic()
        self._standstills: list[tuple[float, float]] = []
        self._selector = selectors.DefaultSelector()

    def run(self, ended: Collection[str] = ()) -> Generator[list[Report], None, None]:
        """Yield reports as they come, every case once; an empty list at least every TICK_S.

        Cases whose ids are in `ended` are left out. Closing the iterator ends the workers and
        drops what they were at. Raises KvmAbiError where workers cannot start.
        """
        self._waiting.extend(
            number for number in self._order if self._cases[number].id not in ended
        )
        try:
            while self._waiting or self._suspects or self._workers():
                self._feed()
                for key, _ in self._selector.select(TICK_S):
                    yield self._collect(key.data)
                if self._mind_the_clock():
                    for worker in self._workers():
                        yield self._give_up_overdue(worker)
                yield []
        finally:
            with interrupts_held():
                for worker in self._workers():
                    worker.end()
                self._selector.close()

    def _workers(self) -> list[WorkerProcess]:
        return [key.data for key in self._selector.get_map().values()]

    def _start(self, suspect: int | None = None) -> WorkerProcess:
        threads = self._threads if suspect is None else 1
        with interrupts_held():
            worker = WorkerProcess(self._cases, self._kernel, threads, suspect=suspect)
            self._selector.register(worker.report_fd, selectors.EVENT_READ, worker)
        return worker

    def _feed(self) -> None:
        crowd = [each for each in self._workers() if each.suspect is None and each.open]
        while len(crowd) < min(self._processes, len(self._waiting)):
            crowd.append(self._start())
        for index, worker in enumerate(crowd):
            share = -(-len(self._waiting) // (len(crowd) - index))
            if count := min(worker.room, share):
                worker.hand_over([self._waiting.popleft() for _ in range(count)])
            if not self._waiting and not worker.in_hand:
                worker.finish()
        if self._suspects and all(each.suspect is None for each in self._workers()):
            number = self._suspects.popleft()
            worker = self._start(number)
            worker.hand_over([number])
            worker.finish()

    def _collect(self, worker: WorkerProcess) -> list[Report]:
        reports = worker.read()
        if reports is None:
            self._selector.unregister(worker.report_fd)
            return self._ended(worker, worker.reap())
        return self._came(reports)

    def _came(self, reports: list[Report]) -> list[Report]:
        """Return reports as they count; a case that hung before did not simply pass."""
        if reports:
            self._barren_ends = 0
        return [self._as_it_counts(report) for report in reports]

    def _as_it_counts(self, report: Report) -> Report:
        if report.number not in self._hung_before or report.error or report.disagreements:
            return report
        return replace(report, error=_came_back(self._hung_before[report.number]))

    def _ended(self, worker: WorkerProcess, how: str) -> list[Report]:
        """Put an ended worker's cases back, but one that took it down all alone; report that."""
        for words in worker.words:
            self._note(f"a worker process could not start, or not wholly: {words}")
        if not worker.in_hand:
            return []
        now = time.monotonic()
        playing = dict(worker.playing())
        if not playing:
            self._ended_barren(worker, how)
        if worker.suspect in playing:
            seconds = self._age(playing[worker.suspect], now)
            return [Report(worker.suspect, seconds, error=self._lost_text(worker.suspect, how))]
        if worker.suspect is not None:
            self._suspects.appendleft(worker.suspect)
            return []
        if playing:
            self._note(
                f"a worker process was lost ({how}) in {len(playing)} cases at once; "
                "each is played again, alone"
            )
        self._put_back(worker, playing)
        return []

    def _ended_barren(self, worker: WorkerProcess, how: str) -> None:
        self._barren_ends += 1
        if self._barren_ends >= BARREN_ENDS:
            why = "; ".join(dict.fromkeys(worker.words)) or how
            raise KvmAbiError(f"{BARREN_ENDS} worker processes ended before any case did: {why}")

    def _put_back(self, worker: WorkerProcess, suspects: Iterable[int]) -> None:
        self._suspects.extend(suspects)
        self._waiting.extendleft(sorted(worker.in_hand.difference(suspects), reverse=True))

    def _lost_text(self, number: int, how: str) -> str:
        if number in self._hung_before:
            return f"nothing came back, and then the worker process was lost in this case: {how}"
        return f"the worker process was lost 2 times in this case: {how}"

    def _mind_the_clock(self) -> bool:
        """Note a standstill, and return whether it is time to look for overdue cases again."""
        now = time.monotonic()
        if now - self._looked > STANDSTILL_S:
            self._standstills.append((now, now - self._looked))
        self._looked = now
        if now < self._judge_at:
            return False
        self._judge_at = now + TICK_S
        return True

    def _age(self, since: float, now: float) -> float:
        """Return for how many seconds a case has been played, standstills left out."""
        return now - since - sum(gap for at, gap in self._standstills if at > since)

    def _give_up_overdue(self, worker: WorkerProcess) -> list[Report]:
        """End a worker with cases past their deadline, which become suspects, or fail if alone."""
        now = time.monotonic()
        ages = {number: self._age(since, now) for number, since in worker.playing()}
        if not any(age > deadline_s(self._cases[number]) for number, age in ages.items()):
            return []
        self._selector.unregister(worker.report_fd)
        with interrupts_held():
            _, reports = worker.end()
        reports = self._came(reports)
        overdue = {
            number: age
            for number, age in ages.items()
            if number in worker.in_hand and age > deadline_s(self._cases[number])
        }
        if worker.suspect is not None:
            return reports + [_hung(number, age) for number, age in overdue.items()]
        self._hung_before.update(overdue)
        self._put_back(worker, overdue)
        return reports

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _came_back(seconds: float) -> str:
    return (
        f"nothing came back for {seconds:.0f} s, yet all was as promised when played again, "
        "alone: no verdict"
    )


def _hung(number: int, seconds: float) -> Report:
    found = Disagreement(
        step="the whole case",
        promise=promises.RETURN,
        expected="every ioctl and guest run comes back",
        seen=f"nothing came back for {seconds:.0f} s, also when played alone",
    )
    return Report(number, seconds, (), (found,), tries=2, seen_in=2)


def costly_first(cases: Sequence[Case]) -> list[int]:
    """Return the cases' numbers, those with the most ioctls first, so that none is last alone."""
    return sorted(range(len(cases)), key=lambda number: -cases[number].ioctls)
