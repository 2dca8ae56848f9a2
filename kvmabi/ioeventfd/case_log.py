"""What tells a kernel under test, and who reads its log, which case is running.

Each case's id goes into a file as it starts. With /dev/kmsg that is the kernel's own log, so that
a panic's last words name the case too. The thread gets a name of the case's as well: the kernel
notes it with what it finds wrong later on, kmemleak with each allocation.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from typing import Final

CASE_LOG: Final = "KVMABI_CASE_LOG"
"""The environment's name of the file."""
MARK: Final = "kvmabi: case "
"""What stands before a case's id in it."""
PR_SET_NAME: Final = 15
"""Source: linux/prctl.h."""
_DIGEST_BYTES: Final = 5

_libc = ctypes.CDLL(None)


class CaseLog:
    """The file that is told of each case; without one, nothing is told. Any thread may tell."""

    def __init__(self) -> None:
        path = os.environ.get(CASE_LOG)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o666) if path else -1

    def starts(self, case_id: str) -> None:
        """Tell that this thread, and those that it starts, now play this case."""
        if self._fd < 0:
            return
        os.write(self._fd, f"{MARK}{case_id}\n".encode())
        _libc.prctl(PR_SET_NAME, thread_name(case_id).encode(), 0, 0, 0)


def thread_name(case_id: str) -> str:
    """Return the name of a thread that plays this case, in the 15 bytes that Linux gives one."""
    digest = hashlib.blake2b(case_id.encode(), digest_size=_DIGEST_BYTES)
    return f"case:{digest.hexdigest()}"
