"""One case alone, with everything that happens in it as lines of text.

It is played in a process of its own, which may hang or be lost without harm to who asked.
"""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from kvmabi.errors import ExitCode, KvmAbiError
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.compare import Disagreement
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.fds import ensure_fds, first_own_fd
from kvmabi.ioeventfd.play import Player, Trace, singly
from kvmabi.ioeventfd.process import READ_BYTES, fork, interrupts_held, kill, reap
from kvmabi.ioeventfd.promises import PROMISES
from kvmabi.ioeventfd.rig import Rig
from kvmabi.ioeventfd.run import STANDSTILL_S, TICK_S, deadline_s
from kvmabi.ioeventfd.steps import Case
from kvmabi.kvm import System

THREADS: Final = 1
Known = Callable[[Sequence[Disagreement]], str]
"""Says why all that disagrees is known of this kernel, or "" where it is not."""
Message = list[Any]
"""What the child says: ["line", text], and at last ["agreed", bool] or ["error", text, code]."""


def nothing_is_known(_found: Sequence[Disagreement]) -> str:
    """Return "": no disagreement is one that is known of the kernel."""
    return ""


def repro_apart(case: Case, kernel: Kernel, trace: Trace, known: Known = nothing_is_known) -> bool:
    """Do what `repro` does in a process of its own; a case that hangs breaks its promise.

    Raises KvmAbiError where the process is lost, or fails otherwise.
    """
    ensure_fds(THREADS)
    read_end, write_end = os.pipe()
    pid = 0
    ended = ""
    try:
        try:
            with interrupts_held():  # until the process is known by its id
                pid = fork(lambda: _child(case, kernel, known, write_end), write_end)
        finally:
            os.close(write_end)
        for message in _messages(read_end, deadline_s(case)):
            match message:
                case ["line", text]:
                    trace(text)
                case ["agreed", agreed]:
                    return bool(agreed)
                case ["error", text, code]:
                    error = KvmAbiError(text)
                    error.exit_code = ExitCode(code)
                    raise error
                case ["hung", seconds]:
                    _trace_hang(seconds, trace)
                    return False
        ended = reap(pid)
        pid = 0
        raise KvmAbiError(f"the process that played {case.id} was lost: {ended}")
    finally:
        os.close(read_end)
        if pid:
            kill(pid)
            reap(pid)


def _messages(read_end: int, patience_s: float) -> Iterator[Message]:
    """Yield what the child says until it ends, and ["hung", s] once it says nothing for so long."""
    tail = b""
    silent_s, looked = 0.0, time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(read_end, selectors.EVENT_READ)
        while silent_s < patience_s:
            if selector.select(TICK_S):
                data = os.read(read_end, READ_BYTES)
                if not data:
                    return
                *lines, tail = (tail + data).split(b"\n")
                yield from map(json.loads, lines)
                silent_s = 0.0
            now = time.monotonic()
            silent_s += now - looked if now - looked < STANDSTILL_S else 0.0
            looked = now
    yield ["hung", silent_s]


def _trace_hang(seconds: float, trace: Trace) -> None:
    trace("BROKEN at: the step after the last line")
    trace(f"  promise {promises.RETURN}: {PROMISES[promises.RETURN]}")
    trace("  expected: every ioctl and guest run comes back")
    trace(f"  seen:     nothing came back for {seconds:.0f} s")


def _child(case: Case, kernel: Kernel, known: Known, write_end: int) -> None:
    def say(*message: object) -> None:
        line = json.dumps(message).encode() + b"\n"
        while line:
            line = line[os.write(write_end, line) :]

    try:
        with System.open() as system:
            agreed = repro(case, system, kernel, lambda line: say("line", line), known)
            say("agreed", agreed)
    except KvmAbiError as error:
        say("error", str(error), int(error.exit_code))
    except Exception as error:
        say("error", f"{type(error).__name__}: {error}", int(ExitCode.HARNESS_FAILED))
        raise


def repro(
    case: Case, system: System, kernel: Kernel, trace: Trace, known: Known = nothing_is_known
) -> bool:
    """Play a case as the matrix does, tell `trace` all about it, and return whether it agreed.

    What disagrees is played once more, one access a run, to show which access it is. Where all of
    it is `known`, the reason is told, and it counts as agreed.
    """
    rig = Rig(system, first_own_fd(THREADS))
    rig.timed = True
    try:
        trace(case.id)
        found = _played(case, rig, kernel, trace)
        if not found:
            trace("all as promised")
            return True
        alone = singly(case)
        if alone != case:
            trace("")
            trace("again, one access at a time:")
            found = _played(alone, rig, kernel, trace) or found
        why = known(found)
        if why:
            trace(f"known: {why}")
        return bool(why)
    finally:
        rig.close()


def _played(case: Case, rig: Rig, kernel: Kernel, trace: Trace) -> list[Disagreement]:
    found = Player(case, rig, kernel, trace=lambda line: trace(f"  {line}")).play()
    for each in found:
        trace(f"BROKEN at: {each.step}")
        trace(f"  promise {each.promise}: {PROMISES[each.promise]}")
        trace(f"  expected: {each.expected}")
        trace(f"  seen:     {each.seen}")
    return found
