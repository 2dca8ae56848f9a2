"""The deadline of KVM_RUN: one watchdog thread a process ends every vCPU that stays too long.

A guest can stay in KVM_RUN for ever (a tight loop, a wait that nothing ends), and only
a signal to the thread that is inside gets it out. So each vCPU has a `Guard`: the thread about to
run it writes its deadline there, three stores and no lock, and the watchdog looks at all guards
some twenty times a second. Past a deadline (but not soon after a pause of the whole process, which
no guest can help) it sets `kvm_run.immediate_exit`, which also catches a
thread between two runs, and sends the signal, again at each look until the thread has disarmed.

The signal goes to a kernel thread id (tgkill), so that a thread which has ended meanwhile costs
nothing; pthread_kill would crash.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

PERIOD_S = 0.05
"""How often the watchdog looks; a deadline is overrun by at most about this."""
STANDSTILL_S = 1.0
"""Between two looks that are further apart the process was stopped, or the machine suspended."""
GRACE_S = 5.0
"""How long nothing is judged after that, since the clock went on and the guests did not."""
SIGNAL = signal.SIGRTMIN + 4
"""The signal that ends KVM_RUN; its handler does nothing."""

_IMMEDIATE_EXIT = 1
"""Offset of `kvm_run.immediate_exit`."""
_NEVER = float("inf")
_libc = ctypes.CDLL(None)


class Guard:
    """The deadline of one vCPU's current run; `expired` once the watchdog had to act."""

    __slots__ = ("deadline", "expired", "run_bytes", "thread")

    def __init__(self, run_bytes: memoryview) -> None:
        self.run_bytes = run_bytes
        self.deadline = _NEVER
        self.thread = 0
        self.expired = False
        _watchdog.watch(self)

    def arm(self, deadline: float) -> None:
        """Watch the calling thread's runs until `disarm`; `deadline` as time.monotonic counts."""
        self.thread = threading.get_native_id()
        self.deadline = deadline

    def disarm(self) -> None:
        """Stop watching; the vCPU may be armed and run again."""
        self.deadline = _NEVER
        if self.expired:  # the watchdog sets both without letting another thread run between
            self.expired = False
            self.run_bytes[_IMMEDIATE_EXIT] = 0

    def retire(self) -> None:
        """Take the guard from the watchdog; before `kvm_run` is unmapped."""
        self.deadline = _NEVER
        _watchdog.forget(self)


class Watchdog:
    """The thread that looks at all guards; it lives as long as there are any."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start empty: in a new process, where no other thread exists."""
        self._guards: set[Guard] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, guard: Guard) -> None:
        """Look at this guard too, from now on."""
        with self._lock:
            self._guards.add(guard)
            if self._thread is None:
                _install_handler()
                self._thread = threading.Thread(
                    target=self._look, name="kvmabi-deadlines", daemon=True
                )
                self._thread.start()

    def forget(self, guard: Guard) -> None:
        """Look at this guard no more."""
        with self._lock:
            self._guards.discard(guard)

    def _look(self) -> None:
        process = os.getpid()
        looked = judge_from = time.monotonic()
        while True:
            time.sleep(PERIOD_S)
            with self._lock:
                if not self._guards:
                    self._thread = None
                    return
                now = time.monotonic()
                if now - looked > STANDSTILL_S:
                    judge_from = now + GRACE_S
                looked = now
                if now < judge_from:
                    continue
                for guard in self._guards:
                    if guard.deadline < now:
                        guard.expired = True
                        guard.run_bytes[_IMMEDIATE_EXIT] = 1
                        _libc.tgkill(process, guard.thread, SIGNAL)


def _install_handler() -> None:
    # Python can set handlers in the main thread only, and would then wake that thread at each
    # signal. The C library takes any function of an int, from any thread: abs does no harm.
    _libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    _libc.signal.restype = ctypes.c_void_p
    _libc.signal(SIGNAL, ctypes.cast(_libc.abs, ctypes.c_void_p))


_watchdog = Watchdog()
os.register_at_fork(after_in_child=_watchdog.reset)
