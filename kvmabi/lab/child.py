"""kvmabi as a process of its own: one more run, with its own files, that ends when we end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from kvmabi.lab.lifeline import end_with

GRACE_S: Final = 20.0
"""How long a run may take to put its result in order once it is told to stop."""


def command(words: Sequence[str]) -> list[str]:
    """Return the command that runs this very kvmabi with these words."""
    return [sys.executable, "-P", "-m", "kvmabi", *words]


def environment() -> dict[str, str]:
    """Return our environment, by which Python finds this very kvmabi, installed or not."""
    here = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, *_python_path()])}


def _python_path() -> list[str]:
    return [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]


@dataclass(frozen=True, slots=True)
class Task:
    """One run to start: its name, its words, and where all that it says goes."""

    name: str
    words: tuple[str, ...]
    out: Path
    err: Path

    @property
    def said(self) -> str:
        """What the run has said on standard error."""
        with suppress(OSError):
            return self.err.read_text("utf-8", "replace")
        return ""


class Child:
    """A run that has been started; a context manager that ends it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        with task.out.open("wb") as out, task.err.open("wb") as err:
            self._process = _start(task.words, out, err)

    def wait(self) -> int:
        """Return the exit code, once there is one."""
        return self._process.wait()

    def poll(self) -> int | None:
        """Return the exit code; None while the run goes on."""
        return self._process.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is not None:
            return
        try:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also where Ctrl-C comes twice
            self._process.kill()
            self._process.wait()


def _start(words: Sequence[str], out: IO[bytes], err: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(words),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env=environment(),
        start_new_session=True,  # Ctrl-C is ours to handle
        preexec_fn=partial(end_with_us, os.getpid()),  # noqa: PLW1509 (no lock)
    )


def end_with_us(parent: int) -> None:
    """Have the kernel end the run when we end, and heed Ctrl-C though a shell had it ignored."""
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
