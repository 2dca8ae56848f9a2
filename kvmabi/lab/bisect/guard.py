"""A command whose whole process group is killed when the process that wants it is gone.

``python -m kvmabi.lab.bisect.guard PARENT COMMAND...``, by the parent, as the leader of a group:
the kernel tells a process of its parent's end, and of nobody's else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from kvmabi.lab.lifeline import end_with


def command(words: Sequence[str]) -> list[str]:
    """Return the command that runs another one under guard, for us."""
    return [sys.executable, "-P", "-m", "kvmabi.lab.bisect.guard", str(os.getpid()), *words]


def main() -> int:
    """Return the command's exit code, as a shell gives it; Ctrl-C is the command's to heed."""
    parent, *words = sys.argv[1:]
    signal.signal(signal.SIGINT, _wait_on)
    signal.signal(signal.SIGTERM, _end_all)
    end_with(int(parent), signal.SIGTERM)
    code = subprocess.run(words, check=False).returncode
    return code if code >= 0 else 128 - code


def _wait_on(_number: int, _frame: FrameType | None) -> None:
    """Outlast the command; unlike a signal that is ignored, this is not passed on to it."""


def _end_all(_number: int, _frame: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
