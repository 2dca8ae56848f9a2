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
import resource
import signal
import struct
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from kvmabi.errors import KvmAbiError, UsageError
from kvmabi.ioeventfd.compare import Disagreement
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.play import play
from kvmabi.ioeventfd.rig import FDS_EACH, Rig
from kvmabi.ioeventfd.steps import Case
from kvmabi.kvm import System

CASE_NUMBER: Final = struct.Struct("<I")
SLOT: Final = struct.Struct("<Id4x")
"""What a thread is at: the case's number + 1 (0: idle), and since when, as time.monotonic."""
SHARED_FDS_EACH: Final = 12
"""How many descriptors a thread needs besides a case's own: VMs, vCPUs, what is passing."""
CASE_LOG: Final = "KVMABI_CASE_LOG"
"""The environment's name of a file that gets each case's id as it starts. With /dev/kmsg the
kernel's own log, a panic's last words too, tell which case was running."""
FIRST_FDS: Final = 64
"""How many descriptors the process needs besides its threads'."""


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


def ensure_fds(threads: int) -> None:
    """Raise the limit of open files to what this many threads need; UsageError if it is too low."""
    needed = first_own_fd(threads) + threads * FDS_EACH
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise UsageError(
                f"{threads} VMs in one process need {needed} open files, and the hard limit is "
                f"{hard}: raise it (ulimit -Hn {needed}) or use fewer (--jobs)"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def first_own_fd(threads: int) -> int:
    """Return the number from which on the threads have descriptors to themselves."""
    return FIRST_FDS + threads * SHARED_FDS_EACH


def work(task: Task) -> None:
    """Play the cases whose numbers come in, until the pipe is closed; the process ends then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    lock = threading.Lock()
    log_fd = open_case_log()
    threads = [
        threading.Thread(target=_Player(task, slot, lock, log_fd).work, daemon=True)
        for slot in range(task.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def open_case_log() -> int:
    """Return the descriptor of the file that CASE_LOG names, or -1."""
    path = os.environ.get(CASE_LOG)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    return os.open(path, flags, 0o666) if path else -1


class _Player:
    """One thread of a worker."""

    def __init__(self, task: Task, slot: int, lock: threading.Lock, log_fd: int) -> None:
        self._task = task
        self._slot_at = slot * SLOT.size
        self._lock = lock
        self._log_fd = log_fd
        self._first_fd = first_own_fd(task.threads) + slot * FDS_EACH

    def work(self) -> None:
        task = self._task
        with System.open() as system:
            rig = Rig(system, self._first_fd)
            while record := os.read(task.work_fd, CASE_NUMBER.size):
                (number,) = CASE_NUMBER.unpack(record)
                started = time.monotonic()
                SLOT.pack_into(task.slots, self._slot_at, number + 1, started)
                if self._log_fd >= 0:
                    os.write(self._log_fd, f"kvmabi: case {task.cases[number].id}\n".encode())
                report = self._play(number, rig, started)
                SLOT.pack_into(task.slots, self._slot_at, 0, started)
                self._send(report.to_line())
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

    def _send(self, line: bytes) -> None:
        try:
            with self._lock:
                while line:
                    line = line[os.write(self._task.report_fd, line) :]
        except BrokenPipeError:
            os._exit(1)  # whoever reads the reports is gone
