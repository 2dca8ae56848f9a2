"""A child whose parent is gone before the child could ask to be told ends at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from kvmabi.lab.lifeline import end_with


@pytest.mark.parametrize(("orphan", "status"), [(False, 0), (True, -signal.SIGKILL)])
def test_an_orphan_ends_before_it_starts(*, orphan: bool, status: int) -> None:
    parent = os.getpid() + 1 if orphan else os.getpid()
    done = subprocess.run(
        [sys.executable, "-c", ""],
        check=False,
        preexec_fn=partial(end_with, parent),
    )
    assert done.returncode == status
