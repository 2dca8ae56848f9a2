"""Memory that nobody can reach any more, as the kernel under test finds it: kmemleak.

This runs inside. Source: Documentation/dev-tools/kmemleak.rst.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

FILE: Final = Path("/sys/kernel/debug/kmemleak")
AGE_S: Final = 5.5
"""An object that is younger than 5 s is not reported. Source: mm/kmemleak.c, MSECS_MIN_AGE."""
SCANS: Final = 2
"""The first scan only notes the content of new objects; one that has not changed is reported."""
DISABLED: Final = (
    "this kernel has kmemleak, but it is switched off (is its pool too small, "
    "CONFIG_DEBUG_KMEMLEAK_MEM_POOL_SIZE?): leaks are not looked for"
)


class Kmemleak:
    """A kernel's leak finder; `about` says what is wrong with it, "" where it works.

    `start` before, and `report` after what is to be watched; a kernel without one reports nothing.
    """

    def __init__(self, file: Path = FILE, sleep: Callable[[float], None] = time.sleep) -> None:
        self._file = file
        self._sleep = sleep
        self._works = file.exists()
        self.about = ""

    def start(self) -> None:
        """Forget what has leaked so far."""
        for _ in range(SCANS):
            self._command("scan")
        self._command("clear")

    def report(self) -> list[str]:
        """Return the kernel's lines about what has leaked since, or none."""
        if not self._works:
            return []
        self._sleep(AGE_S)
        for _ in range(SCANS):
            self._command("scan")
        return self._lines()

    def _lines(self) -> list[str]:
        if not self._works:
            return []
        return self._file.read_text(errors="replace").splitlines()

    def _command(self, text: str) -> None:
        if not self._works:
            return
        try:
            with self._file.open("r+") as file:
                file.write(text)
        except OSError:
            self._works, self.about = False, DISABLED


def as_messages(lines: list[str]) -> bytes:
    """Return lines as /dev/kmsg gives messages."""
    return "".join(f"4,0,0,-;{line}\n" for line in lines).encode()
