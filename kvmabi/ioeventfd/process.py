"""Forked processes: starting one so that no Ctrl-C falls between, and how a worker looks outside.

What a user types goes to every process of the terminal's group. Ctrl-C and Ctrl-Z are meant for
the supervisor: its children ignore both, and end when it ends them or closes their pipes.
"""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

from kvmabi.errors import KvmAbiError
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.steps import Case
from kvmabi.ioeventfd.worker import CASE_NUMBER, NO_CASE, SLOT, Report, Task, work

READ_BYTES: Final = 1 << 16
REAP_S: Final = 5.0
"""How long a killed process has to go; one that takes longer hangs in the kernel."""
FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGTSTP)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Put Ctrl-C off to the end of the block, so that what is in it happens wholly or not at all.

    One that came before is raised before the block starts.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FROM_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fork(body: Callable[[], object], *kept: int) -> int:
    """Run `body` in a forked process with these descriptors and 0, 1, 2; return its process id.

    The process ends with `body`: with status 0, or 1 where it raises, of which nothing is printed.
    Raises KvmAbiError where there can be no more processes.
    """
    with interrupts_held():
        try:
            pid = os.fork()
        except OSError as error:
            raise KvmAbiError(f"cannot start a process: {error.strerror}") from error
        if pid == 0:
            _be_the_child(body, kept)
    return pid


def _be_the_child(body: Callable[[], object], kept: Sequence[int]) -> NoReturn:
    status = 1
    try:
        for number in FROM_TERMINAL:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FROM_TERMINAL)
        close_all_but(*kept)
        body()
        status = 0
    finally:
        os._exit(status)


def close_all_but(*kept: int) -> None:
    """Close what a forked process inherits: other workers' pipes, which must see their end."""
    start = 3
    for fd in sorted(kept):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def kill(pid: int) -> None:
    """Send SIGKILL to a child that may have ended, and has not been waited for."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def reap(pid: int) -> str:
    """Wait for a child that is ending, and return how it ended, as text."""
    give_up = time.monotonic() + REAP_S
    while time.monotonic() < give_up:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return f"signal {-code}" if code < 0 else f"exit status {code}"
        time.sleep(0.01)
    return "it hangs in the kernel"  # and is left behind: nothing can end it


class WorkerProcess:
    """One forked worker, from the supervisor's side.

    `suspect` is the number of the one case that it is there for, played alone; None for any case.
    """

    def __init__(
        self, cases: Sequence[Case], kernel: Kernel, threads: int, *, suspect: int | None = None
    ) -> None:
        self._slots = mmap.mmap(-1, threads * SLOT.size)
        self._threads = threads
        self._tail = b""
        self.suspect = suspect
        self.words: list[str] = []
        """What the worker said of itself: why it, or a thread of it, could not start."""
        work_end, self._work_fd = os.pipe()
        self.report_fd, report_end = os.pipe()
        self.in_hand: set[int] = set()
        task = Task(cases, kernel, threads, work_end, report_end, self._slots)
        try:
            self.pid = fork(lambda: work(task), work_end, report_end)
        except KvmAbiError:
            self.finish()
            os.close(self.report_fd)
            raise
        finally:
            os.close(work_end)
            os.close(report_end)

    @property
    def open(self) -> bool:
        """Whether the worker still takes cases: `finish` has not been called."""
        return self._work_fd >= 0

    @property
    def room(self) -> int:
        """How many more cases to hand over, so that no thread waits and few lie about."""
        return 2 * self._threads - len(self.in_hand) if self.open else 0

    def hand_over(self, numbers: Sequence[int]) -> None:
        """Give the worker more cases."""
        self.in_hand.update(numbers)
        with suppress(BrokenPipeError):  # it has died, which its report pipe tells
            os.write(self._work_fd, b"".join(map(CASE_NUMBER.pack, numbers)))

    def read(self) -> list[Report] | None:
        """Return the reports that have come, or None where the worker is gone."""
        data = os.read(self.report_fd, READ_BYTES)
        if not data:
            return None
        *lines, self._tail = (self._tail + data).split(b"\n")
        reports = [Report.from_line(line) for line in lines]
        self.words += [report.error for report in reports if report.number == NO_CASE]
        if self.words:
            reports = [report for report in reports if report.number != NO_CASE]
        self.in_hand.difference_update(report.number for report in reports)
        return reports

    def playing(self) -> Iterator[tuple[int, float]]:
        """Yield the number of each case that is being played, and since when."""
        for at in range(0, self._threads * SLOT.size, SLOT.size):
            number, since = SLOT.unpack_from(self._slots, at)
            if number and since and number - 1 in self.in_hand:  # a zero time is a torn slot
                yield number - 1, since

    def finish(self) -> None:
        """Let the worker end by itself once it has no more cases."""
        fd, self._work_fd = self._work_fd, -1  # first, as Ctrl-C may come between
        if fd >= 0:
            os.close(fd)

    def end(self) -> tuple[str, list[Report]]:
        """End the worker now; return how it ended, as text, and what it had still reported."""
        self.finish()
        kill(self.pid)
        how = reap(self.pid)
        reports = self._rest()
        os.close(self.report_fd)
        return how, reports

    def reap(self) -> str:
        """Collect the worker, which has closed its pipe and is ending; return how it ended."""
        self.finish()
        os.close(self.report_fd)
        return reap(self.pid)

    def _rest(self) -> list[Report]:
        os.set_blocking(self.report_fd, False)
        reports: list[Report] = []
        with suppress(BlockingIOError):  # it hangs in the kernel, and keeps its end of the pipe
            while (more := self.read()) is not None:
                reports += more
        return reports
