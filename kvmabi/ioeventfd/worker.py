"""A worker process: many threads, each with a VM of its own, that play cases until told to stop.

Assign and deassign wait for a grace period of the VM's, which other VMs need not wait for, and let
go of the interpreter lock meanwhile; so the more VMs there are side by side, the more cases end.
Work comes in through a pipe as 4-byte case numbers; reports go out through another as lines.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import struct
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from kvmabi.errors import KvmAbiError
from kvmabi.ioeventfd.case_log import CaseLog
from kvmabi.ioeventfd.compare import Disagreement
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.fds import first_own_fd
from kvmabi.ioeventfd.play import play
from kvmabi.ioeventfd.rig import FDS_EACH, Rig
from kvmabi.ioeventfd.steps import Case
from kvmabi.kvm import System

CASE_NUMBER: Final = struct.Struct("<I")
SLOT: Final = struct.Struct("<Id4x")
"""What a thread is at: the case's number + 1 (0: idle), and since when, as time.monotonic."""
NO_CASE: Final = -1
"""The number in a report that is about the worker itself: why it, or a thread, cannot start."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one case. `error` is set where the harness failed; then nothing else counts."""

    number: int
    seconds: float
    promises: tuple[int, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    tries: int = 1
    seen_in: int = 0
    error: str = ""

    def to_line(self) -> bytes:
        """Return the report as a line; short where all was as promised."""
        head = f"[{self.number}, {self.seconds:.6f}, {list(self.promises)}"
        if not self.disagreements and not self.error:
            return f"{head}]\n".encode()
        found = json.dumps([asdict(each) for each in self.disagreements])
        rest = json.dumps([self.tries, self.seen_in, self.error])
        return f"{head}, {found}, {rest[1:]}\n".encode()

    @classmethod
    def from_line(cls, line: bytes) -> Report:
        """Return the report that a line holds."""
        number, seconds, promises, *rest = json.loads(line)
        if not rest:
            return cls(number, seconds, tuple(promises))
        found, tries, seen_in, error = rest
        disagreements = tuple(Disagreement(**each) for each in found)
        return cls(number, seconds, tuple(promises), disagreements, tries, seen_in, error)


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to know, and its ends of the pipes."""

    cases: Sequence[Case]
    kernel: Kernel
    threads: int
    work_fd: int
    report_fd: int
    slots: mmap.mmap


def work(task: Task) -> None:
    """Play the cases whose numbers come in, until the pipe is closed; the process ends then.

    What keeps it, or some of its threads, from starting is reported as a line of NO_CASE.
    """
    lock = threading.Lock()
    try:
        gc.freeze()
        log = CaseLog()
        players = [_Player(task, slot, lock, log) for slot in range(task.threads)]
        threads = _started(players)
    except Exception as error:
        send(task, lock, Report(NO_CASE, 0, error=_text(error)))
        raise
    for thread in threads:
        thread.join()


def _started(players: Sequence[_Player]) -> list[threading.Thread]:
    """Return a thread for each player, or for as many as there may be."""
    threads: list[threading.Thread] = []
    for player in players:
        thread = threading.Thread(target=player.work, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            player.give_up(f"{len(threads)} of {len(players)} threads: {_text(error)}")
            break
        threads.append(thread)
    return threads


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def send(task: Task, lock: threading.Lock, report: Report) -> None:
    """Send a report to the supervisor; end the process where that is gone."""
    line = report.to_line()
    try:
        with lock:
            while line:
                line = line[os.write(task.report_fd, line) :]
    except BrokenPipeError:
        os._exit(1)


class _Player:
    """One thread of a worker."""

    def __init__(self, task: Task, slot: int, lock: threading.Lock, log: CaseLog) -> None:
        self._task = task
        self._slot_at = slot * SLOT.size
        self._lock = lock
        self._log = log
        self._first_fd = first_own_fd(task.threads) + slot * FDS_EACH

    def work(self) -> None:
        """Play cases until there are no more; what goes wrong between them is told."""
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 (the supervisor decides what becomes of it)
            self.give_up(_text(error))

    def give_up(self, why: str) -> None:
        """Tell why there is one thread less."""
        send(self._task, self._lock, Report(NO_CASE, 0, error=why))

    def _work(self) -> None:
        task = self._task
        with System.open() as system:
            rig = Rig(system, self._first_fd, shared_below=first_own_fd(task.threads))
            while record := os.read(task.work_fd, CASE_NUMBER.size):
                (number,) = CASE_NUMBER.unpack(record)
                started = time.monotonic()
                SLOT.pack_into(task.slots, self._slot_at, number + 1, started)
                self._log.starts(task.cases[number].id)
                report = self._play(number, rig, started)
                SLOT.pack_into(task.slots, self._slot_at, 0, started)
                send(task, self._lock, report)
            rig.close()

    def _play(self, number: int, rig: Rig, started: float) -> Report:
        try:
            played = play(self._task.cases[number], rig, self._task.kernel)
        except (OSError, KvmAbiError) as error:
            return Report(number, time.monotonic() - started, error=f"{error}")
        except Exception:  # noqa: BLE001 (one case's bug must not end the others)
            return Report(number, time.monotonic() - started, error=traceback.format_exc())
        return Report(
            number,
            time.monotonic() - started,
            played.promises,
            played.disagreements,
            played.tries,
            played.seen_in,
        )
