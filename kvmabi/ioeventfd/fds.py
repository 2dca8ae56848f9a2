"""How many descriptors a worker's threads need, and whether this process may have as many.

A worker's numbers are laid out so: FIRST_FDS for the process, then SHARED_FDS_EACH a thread for
whatever the kernel hands out, then FDS_EACH a thread that nothing but that thread's cases uses.
"""

from __future__ import annotations

import resource
from typing import Final

from kvmabi.errors import UsageError
from kvmabi.ioeventfd.rig import FDS_EACH

FIRST_FDS: Final = 64
"""How many descriptors the process needs besides its threads'."""
MACHINE_FDS: Final = 16
"""How many descriptors of a thread its VMs and vCPUs take, and what is open for a moment only."""
SHARED_FDS_EACH: Final = FDS_EACH + MACHINE_FDS
"""How many numbers a thread may take from those that the kernel hands out: a case's descriptors
that keep their number, and its machines'."""


def first_own_fd(threads: int) -> int:
    """Return the number from which on the threads have descriptors to themselves."""
    return FIRST_FDS + threads * SHARED_FDS_EACH


def fds_needed(threads: int) -> int:
    """Return how many descriptors a worker with this many threads needs."""
    return first_own_fd(threads) + threads * FDS_EACH


def threads_that_fit() -> int:
    """Return how many threads the hard limit of open files allows to a worker; 0 for none."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 30
    return max(0, (hard - FIRST_FDS) // (SHARED_FDS_EACH + FDS_EACH))


def ensure_fds(threads: int) -> None:
    """Raise the limit of open files to what this many threads need; UsageError if it is too low."""
    needed = fds_needed(threads)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"{threads} VMs in one process need {needed} open files, and the hard limit is "
            f"{hard}: raise it (ulimit -Hn {needed}) or use fewer (--jobs)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
