"""A child whose parent is gone before the child could ask to be told ends at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from kvmabi.lab.lifeline import ENDS, end_with, heeding_ends


@pytest.mark.parametrize(("orphan", "status"), [(False, 0), (True, -signal.SIGKILL)])
def test_an_orphan_ends_before_it_starts(*, orphan: bool, status: int) -> None:
    parent = os.getpid() + 1 if orphan else os.getpid()
    done = subprocess.run(
        [sys.executable, "-c", ""],
        check=False,
        preexec_fn=partial(end_with, parent),
    )
    assert done.returncode == status


@pytest.fixture
def handling() -> Iterator[Callable[..., None]]:
    """Sets what a signal does; in the end it does what it did before."""
    before = {number: signal.getsignal(number) for number in ENDS}
    yield signal.signal
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDS)
def test_what_ends_a_process_interrupts_it_meanwhile(handling, number: signal.Signals) -> None:
    handling(number, signal.SIG_DFL)
    with pytest.raises(KeyboardInterrupt), heeding_ends():
        os.kill(os.getpid(), number)
        signal.pause()
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_that_is_ignored_stays_so(handling, number: signal.Signals) -> None:
    handling(number, signal.SIG_IGN)
    with heeding_ends():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.SIG_IGN
