"""A command with all the processes that it starts, which end together."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Final

from kvmabi.lab.bisect import guard
from kvmabi.lab.child import GRACE_S, end_with_us

PR_SET_CHILD_SUBREAPER: Final = 36
TICK_S: Final = 0.05

_libc = ctypes.CDLL(None)


def run_group(command: Sequence[str], *, cwd: Path, out: IO[bytes], env: Mapping[str, str]) -> int:
    """Return the exit code of a command; its standard output goes to `out`.

    Where we are interrupted, so are all of its processes: `git bisect run` has a shell, a step,
    a compiler or an emulator beneath it. They are waited for, since their folder goes next. Where
    we are killed, so are they.
    """
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans among them become ours to wait for
    process = subprocess.Popen(
        guard.command(command),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=out,
        env=env,
        start_new_session=True,
        preexec_fn=partial(end_with_us, os.getpid()),  # noqa: PLW1509 (no lock)
    )
    try:
        return process.wait()
    except BaseException:
        _end(process.pid)
        raise


def _end(group: int) -> None:
    give_up = time.monotonic() + GRACE_S
    _signal(group, signal.SIGINT)
    while not _is_gone(group):
        if time.monotonic() > give_up:
            _signal(group, signal.SIGKILL)
        time.sleep(TICK_S)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _is_gone(group: int) -> bool:
    """Return whether no process of the group is left, having reaped those that have ended."""
    try:
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False
