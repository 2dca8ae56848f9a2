"""One case alone, with everything that happens in it as lines of text."""

from __future__ import annotations

from typing import Final

from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.play import Player, Trace, singly
from kvmabi.ioeventfd.promises import PROMISES
from kvmabi.ioeventfd.rig import Rig
from kvmabi.ioeventfd.steps import Case
from kvmabi.ioeventfd.worker import ensure_fds, first_own_fd
from kvmabi.kvm import System

THREADS: Final = 1


def repro(case: Case, system: System, kernel: Kernel, trace: Trace) -> bool:
    """Play a case as the matrix does, tell `trace` all about it, and return whether it agreed.

    What disagrees is played once more, one access a run, to show which access it is.
    """
    ensure_fds(THREADS)
    rig = Rig(system, first_own_fd(THREADS))
    rig.timed = True
    try:
        trace(case.id)
        if _played(case, rig, kernel, trace):
            trace("all as promised")
            return True
        alone = singly(case)
        if alone != case:
            trace("")
            trace("again, one access at a time:")
            _played(alone, rig, kernel, trace)
        return False
    finally:
        rig.close()


def _played(case: Case, rig: Rig, kernel: Kernel, trace: Trace) -> bool:
    found = Player(case, rig, kernel, trace=lambda line: trace(f"  {line}")).play()
    for each in found:
        trace(f"BROKEN at: {each.step}")
        trace(f"  promise {each.promise}: {PROMISES[each.promise]}")
        trace(f"  expected: {each.expected}")
        trace(f"  seen:     {each.seen}")
    return not found
