"""Result files: a writer that loses nothing, a reader that survives a torn end, and resuming.

`Writer` hands each batch of whole lines to the kernel in one write, so that a record is out of
this process as soon as `write` returns: Ctrl-C, kill -9 and an OOM kill keep all before it. About
every SYNC_S it has the kernel put them to disk, so that a panic of the machine costs no more.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from kvmabi.errors import ExitCode, ResultError
from kvmabi.results.record import (
    CaseRecord,
    EndRecord,
    Record,
    RunRecord,
    Verdict,
    from_line,
    to_line,
)

if TYPE_CHECKING:
    from types import TracebackType

STDOUT: Final = "-"
"""The file name that means standard output."""

SYNC_S: Final = 0.2
"""How long records may be in the kernel's hands only."""
SYNC_SHARE: Final = 0.1
"""How much of a run's time syncing may take; on a slow disk it is done less often."""
MOST_OF_A_LINE: Final = 1 << 20

_RESUME_KEYS: Final = ("kernel_release", "kernel_version", "machine", "back_end", "accelerator")
"""What of the host must be the same for two halves to make one run."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a result file holds: the seam for everything that is derived from one.

    `cases` stand in the order in which they ended, each id once: where a case in error was run
    again, or a record was revised, the later one counts. `end` is None where the run was
    killed. `whole_bytes` is the length of the part that can be trusted; past it stands at most one
    torn line.
    """

    run: RunRecord
    cases: tuple[CaseRecord, ...]
    end: EndRecord | None
    whole_bytes: int

    @property
    def seconds(self) -> float:
        """How long the run took up to its last end record; 0 where it never came to one."""
        return self.end.seconds if self.end else 0.0


def read_result(path: str | os.PathLike[str]) -> Result:
    """The result in a file; a torn last line is left out.

    Raises ResultError, with file and line, where the file is no result: it does not start with a
    run record, a line before the last is damaged, or a case stands in it twice.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ResultError(f"cannot read the result {path}: {error.strerror}") from error
    whole = data.rfind(b"\n") + 1
    records = [_parse(path, number, line) for number, line in _numbered(data[:whole])]
    if not records or not isinstance(records[0], RunRecord):
        raise ResultError(f"{path} is no result of kvmabi: it does not start with a run record")
    return _assemble(path, records[0], records[1:], whole)


def _numbered(data: bytes) -> list[tuple[int, bytes]]:
    return list(enumerate(data.split(b"\n")[:-1], start=1))


def _parse(path: str | os.PathLike[str], number: int, line: bytes) -> Record:
    try:
        return from_line(line)
    except ResultError as error:
        raise ResultError(f"{path}:{number}: {error}") from None


def _assemble(
    path: str | os.PathLike[str], run: RunRecord, rest: list[Record], whole: int
) -> Result:
    cases: dict[str, CaseRecord] = {}
    end: EndRecord | None = None
    for number, record in enumerate(rest, start=2):
        match record:
            case RunRecord():
                raise ResultError(f"{path}:{number}: a second run record")
            case EndRecord():
                end = record
            case CaseRecord():
                before = cases.get(record.id)
                if record.revised and before is None:
                    raise ResultError(f"{path}:{number}: {record.id} is revised, and not there")
                if before is not None and not record.revised:
                    if before.verdict is not Verdict.ERROR:
                        raise ResultError(
                            f"{path}:{number}: the case {record.id} stands here twice"
                        )
                    del cases[record.id]  # it ended again, and now
                cases[record.id] = record
                end = None
    return Result(run, tuple(cases.values()), end, whole)


def check_resumable(old: RunRecord, new: RunRecord) -> None:
    """Raise ResultError unless `new` continues `old`: same verb, kernel, ABI, options and plan."""
    pairs: list[tuple[str, object, object]] = [
        ("verb", old.verb, new.verb),
        ("kvmabi version", old.kvmabi, new.kvmabi),
        ("ABI", dict(old.abi), dict(new.abi)),
        ("options", dict(old.options), dict(new.options)),
        ("number of planned cases", old.planned, new.planned),
    ]
    pairs += [(key, old.host.get(key), new.host.get(key)) for key in _RESUME_KEYS]
    for name, before, now in pairs:
        if before != now:
            raise ResultError(
                f"that result cannot be resumed: its {name} is {before!r}, this run's is {now!r}"
            )


def _refuse_what_is_no_result(path: str) -> None:
    with Path(path).open("rb") as file:
        head = file.readline(MOST_OF_A_LINE)
    try:
        first = json.loads(head) if head else {"type": "run", "kvmabi": ""}
    except ValueError:
        first = None
    if not isinstance(first, dict) or first.get("type") != "run" or "kvmabi" not in first:
        raise ResultError(
            f"{path} holds something that is no result of kvmabi, and is not overwritten: "
            "remove it, or name another file"
        )


class Writer:
    """Appends records to a result file, each in the kernel's hands when `write` returns.

    `path` may be "-" for standard output. Without `keep_bytes` the file starts anew; with it, the
    file is cut to that length first (`Result.whole_bytes`, to resume behind a torn line). Only one
    run at a time may write to a file. May be used from several threads. Raises ResultError where
    the file cannot be written, or holds something that is no result.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep_bytes: int = 0) -> None:
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        self._own = self.path != STDOUT
        self._on_disk = False
        self._unsynced = False
        self._sync_at = 0.0
        try:
            self._fd = self._open(keep_bytes) if self._own else os.dup(1)
        except OSError as error:
            raise self._error(error) from error

    def _open(self, keep_bytes: int) -> int:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _refuse_what_is_no_result(self.path)
                os.ftruncate(fd, keep_bytes)
                self._on_disk = True
        except BlockingIOError:
            os.close(fd)
            raise ResultError(f"another run is writing to {self.path}") from None
        except (OSError, ResultError):
            os.close(fd)
            raise
        return fd

    def write(self, *records: Record) -> None:
        """Append the records, as one write of whole lines."""
        data = b"".join([to_line(record) for record in records])
        with self._lock:
            try:
                self._write_all(data)
                self._unsynced = self._on_disk
                self._sync_if_due()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise self._error(error, ExitCode.HARNESS_FAILED) from error

    def sync_if_due(self) -> None:
        """Have what was written put to disk if that is due; for a loop that waits for records."""
        with self._lock:
            try:
                self._sync_if_due()
            except OSError as error:
                raise self._error(error, ExitCode.HARNESS_FAILED) from error

    def _sync_if_due(self) -> None:
        if self._unsynced and time.monotonic() >= self._sync_at:
            self._sync()

    def _sync(self) -> None:
        started = time.monotonic()
        os.fdatasync(self._fd)
        ended = time.monotonic()
        self._unsynced = False
        self._sync_at = ended + max(SYNC_S, (ended - started) / SYNC_SHARE)

    def _write_all(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        try:
            while written < len(data):  # a full disk or a pipe: try for the reason
                written += os.write(self._fd, data[written:])
        except OSError:
            if self._on_disk:  # no half a line, behind which another might stand
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise

    def _error(self, error: OSError, code: ExitCode = ExitCode.USAGE) -> ResultError:
        failed = ResultError(f"cannot write the result {self.path}: {error.strerror}")
        failed.exit_code = code
        return failed

    def close(self) -> None:
        """Put the file to disk and close it; closing twice is fine."""
        with self._lock:
            if self._fd < 0:
                return
            try:
                if self._unsynced:
                    self._sync()
            except OSError as error:
                raise self._error(error, ExitCode.HARNESS_FAILED) from error
            finally:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
