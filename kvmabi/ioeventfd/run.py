"""Many cases: worker processes, what becomes of cases whose worker hangs or dies, and the order.

The supervisor hands out case numbers, one by one, and yields reports as they come. It has no
threads, so that a worker can be forked anew at any time. A case that a worker cannot end is given
up after a deadline; one that takes its worker down with it twice is reported as lost.
"""

from __future__ import annotations

import mmap
import os
import selectors
import signal
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import Final

from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.compare import Disagreement
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.steps import Case
from kvmabi.ioeventfd.worker import CASE_NUMBER, SLOT, Report, Task, ensure_fds, work

CASE_DEADLINE_S: Final = 60.0
IOCTL_DEADLINE_S: Final = 0.05
"""How much longer a case may take for each KVM_IOEVENTFD that it makes."""
VMS_EACH: Final = 48
"""How many VMs a worker process plays side by side."""
TICK_S: Final = 0.2
ATTEMPTS: Final = 2
READ_BYTES: Final = 1 << 16


def deadline_s(case: Case) -> float:
    """Return after how many seconds a case that has not ended is given up."""
    return CASE_DEADLINE_S + IOCTL_DEADLINE_S * case.ioctls


def default_jobs() -> int:
    """Return how many VMs to run side by side on this machine."""
    return VMS_EACH * len(os.sched_getaffinity(0))


def close_all_but(*kept: int) -> None:
    """Close what a forked worker inherits: other workers' pipes, which must see their end."""
    start = 3
    for fd in sorted(kept):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


class WorkerProcess:
    """One forked worker, from the supervisor's side."""

    def __init__(self, cases: Sequence[Case], kernel: Kernel, threads: int) -> None:
        self._slots = mmap.mmap(-1, threads * SLOT.size)
        self._threads = threads
        self._tail = b""
        self.killed = False
        work_end, self._work_fd = os.pipe()
        self.report_fd, report_end = os.pipe()
        self.in_hand: set[int] = set()
        self.pid = os.fork()
        if self.pid == 0:
            self._be_the_worker(Task(cases, kernel, threads, work_end, report_end, self._slots))
        os.close(work_end)
        os.close(report_end)

    def _be_the_worker(self, task: Task) -> None:
        status = 1
        try:
            close_all_but(task.work_fd, task.report_fd)
            work(task)
            status = 0
        finally:
            os._exit(status)

    @property
    def room(self) -> int:
        """How many more cases to hand over, so that no thread waits and few lie about."""
        return 2 * self._threads - len(self.in_hand)

    def hand_over(self, number: int) -> None:
        """Give the worker one more case."""
        self.in_hand.add(number)
        with suppress(BrokenPipeError):  # it has died, which its report pipe tells
            os.write(self._work_fd, CASE_NUMBER.pack(number))

    def read(self) -> list[Report] | None:
        """Return the reports that have come, or None where the worker is gone."""
        data = os.read(self.report_fd, READ_BYTES)
        if not data:
            return None
        *lines, self._tail = (self._tail + data).split(b"\n")
        reports = [Report.from_line(line) for line in lines]
        self.in_hand.difference_update(report.number for report in reports)
        return reports

    def playing(self) -> Iterator[tuple[int, float]]:
        """Yield the number of each case that is being played, and since when."""
        for at in range(0, self._threads * SLOT.size, SLOT.size):
            number, since = SLOT.unpack_from(self._slots, at)
            if number and since:  # pack_into clears the slot first: a zero time is a torn one
                yield number - 1, since

    def finish(self) -> None:
        """Let the worker end by itself once it has no more cases."""
        if self._work_fd >= 0:
            os.close(self._work_fd)
            self._work_fd = -1

    def kill(self) -> str:
        """End the worker now, and return how it ended, as text."""
        self.finish()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.reap()

    def reap(self) -> str:
        """Collect the process, which is ending, and return how it ended."""
        self.finish()
        os.close(self.report_fd)
        give_up = time.monotonic() + 5
        while time.monotonic() < give_up:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return f"signal {-code}" if code < 0 else f"exit status {code}"
            time.sleep(0.01)
        return "it hangs in the kernel"  # and is left behind: nothing can end it


class Supervisor:
    """Runs cases on `jobs` VMs at a time, over at most as many processes as there are CPUs."""

    def __init__(self, cases: Sequence[Case], kernel: Kernel, *, jobs: int | None = None) -> None:
        jobs = jobs or default_jobs()
        processes = min(jobs, len(os.sched_getaffinity(0)), max(len(cases), 1))
        self._cases = cases
        self._kernel = kernel
        self._threads = max(1, min(jobs // processes, len(cases) // processes + 1))
        ensure_fds(self._threads)
        self._waiting = deque(costly_first(cases))
        self._attempts: Counter[int] = Counter()
        self._selector = selectors.DefaultSelector()
        self._processes = processes

    def run(self) -> Generator[list[Report], None, None]:
        """Yield reports as they come, every case once; an empty list at least every TICK_S.

        Closing the iterator ends the workers and drops what they were at.
        """
        try:
            for _ in range(self._processes):
                self._start()
            while self._workers():
                self._feed()
                for key, _ in self._selector.select(TICK_S):
                    yield self._collect(key.data)
                yield self._give_up_overdue()
        finally:
            for worker in self._workers():
                worker.kill()
            self._selector.close()

    def _workers(self) -> list[WorkerProcess]:
        return [key.data for key in self._selector.get_map().values()]

    def _start(self) -> None:
        worker = WorkerProcess(self._cases, self._kernel, self._threads)
        self._selector.register(worker.report_fd, selectors.EVENT_READ, worker)

    def _feed(self) -> None:
        for worker in self._workers():
            for _ in range(min(worker.room, len(self._waiting))):
                worker.hand_over(self._waiting.popleft())
            if not self._waiting and not worker.in_hand:
                worker.finish()

    def _collect(self, worker: WorkerProcess) -> list[Report]:
        reports = worker.read()
        if reports is not None:
            return reports
        self._selector.unregister(worker.report_fd)
        how = worker.reap()
        return self._lost(worker, how) if worker.in_hand else []

    def _lost(self, worker: WorkerProcess, how: str) -> list[Report]:
        """Put a dead worker's cases back, but those that were being played once too often."""
        given_up = []
        now = time.monotonic()
        for number, since in worker.playing():
            if number in worker.in_hand:
                self._attempts[number] += 1
                if self._attempts[number] >= ATTEMPTS:
                    worker.in_hand.discard(number)
                    text = f"the worker process was lost {ATTEMPTS} times in this case: {how}"
                    given_up.append(Report(number, now - since, error=text))
        self._waiting.extendleft(sorted(worker.in_hand, reverse=True))
        if self._waiting:
            self._start()
        return given_up

    def _give_up_overdue(self) -> list[Report]:
        """Report cases past their deadline, and replace the worker that is stuck with them."""
        reports = []
        now = time.monotonic()
        for worker in self._workers():
            overdue = [
                (number, now - since)
                for number, since in worker.playing()
                if number in worker.in_hand and now - since > deadline_s(self._cases[number])
            ]
            if overdue:
                self._selector.unregister(worker.report_fd)
                worker.kill()
                worker.in_hand.difference_update(number for number, _ in overdue)
                reports += [self._hung(*each) for each in overdue]
                self._waiting.extendleft(worker.in_hand)
                if self._waiting:
                    self._start()
        return reports

    def _hung(self, number: int, seconds: float) -> Report:
        found = Disagreement(
            step="the whole case",
            promise=promises.RETURN,
            expected="every ioctl and guest run comes back",
            seen=f"nothing came back for {seconds:.0f} s",
        )
        return Report(number, seconds, (), (found,), tries=1, seen_in=1)


def costly_first(cases: Sequence[Case]) -> list[int]:
    """Return the cases' numbers, those with the most ioctls first, so that none is last alone."""
    return sorted(range(len(cases)), key=lambda number: -cases[number].ioctls)
