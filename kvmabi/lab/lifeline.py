"""Processes that end when we end, however that comes about."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PR_SET_PDEATHSIG: Final = 1
"""Source: include/uapi/linux/prctl.h; prctl(2)."""
ENDS: Final = (signal.SIGTERM, signal.SIGHUP)
"""By which a machine that shuts down, or a terminal that closes, ends what runs."""

_libc = ctypes.CDLL(None)


def end_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel end this process when its parent does not run any more, which may be now.

    For the first moments of a child (`preexec_fn`); `parent` is the process that forked it, and
    `number` the signal that comes.
    """
    _libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # it ended before it could be told to tell
        os.kill(os.getpid(), number)


@contextmanager
def heeding_ends() -> Iterator[None]:
    """Have SIGTERM and SIGHUP do meanwhile what Ctrl-C does; one that is ignored stays so."""
    numbers = [one for one in ENDS if signal.getsignal(one) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
