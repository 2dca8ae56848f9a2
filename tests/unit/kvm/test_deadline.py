"""The watchdog interrupts what outstays its deadline, and nothing else."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from kvmabi.kvm import deadline
from kvmabi.kvm.deadline import Guard

libc = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """A guard over memory that stands for kvm_run."""

    def __init__(self) -> None:
        self.run = bytearray(8)
        self.guard = Guard(memoryview(self.run))

    def close(self) -> None:
        self.guard.retire()


@pytest.fixture
def guarded():
    with closing(Guarded()) as made:
        yield made


def pause_under(guard: Guard, seconds: float) -> int:
    """pause(2) ends by a signal only; what it returns, as a vCPU's thread would wait."""
    guard.arm(time.monotonic() + seconds)
    return int(libc.pause())


def test_a_thread_that_never_comes_back_is_interrupted(guarded) -> None:
    assert pause_under(guarded.guard, 0.02) == -1
    assert guarded.guard.expired
    assert guarded.run[1] == 1


def test_disarming_makes_it_ready_for_the_next_run(guarded) -> None:
    pause_under(guarded.guard, 0.02)
    guarded.guard.disarm()
    assert not guarded.guard.expired
    assert guarded.run[1] == 0


def test_any_thread_can_be_interrupted(guarded) -> None:
    ended = []
    thread = threading.Thread(target=lambda: ended.append(pause_under(guarded.guard, 0.02)))
    thread.start()
    thread.join()
    assert ended == [-1]


def test_many_threads_at_once() -> None:
    all_guarded = [Guarded() for _ in range(64)]
    threads = [
        threading.Thread(target=pause_under, args=(one.guard, 0.02 + at / 1000))
        for at, one in enumerate(all_guarded)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one.guard.expired for one in all_guarded)
    for one in all_guarded:
        one.close()


def test_who_keeps_the_deadline_is_left_alone(guarded) -> None:
    other = Guarded()
    guarded.guard.arm(time.monotonic() + 3600)
    assert pause_under(other.guard, 0.02) == -1
    assert other.guard.expired
    assert not guarded.guard.expired
    assert bytes(guarded.run) == bytes(8)
    other.close()


def test_a_thread_that_ended_while_armed_does_no_harm(guarded) -> None:
    thread = threading.Thread(target=guarded.guard.arm, args=(time.monotonic() + 0.01,))
    thread.start()
    thread.join()
    time.sleep(4 * deadline.PERIOD_S)
    assert guarded.guard.expired


def test_who_has_disarmed_is_left_alone(guarded) -> None:
    guarded.guard.arm(time.monotonic() + 0.001)
    guarded.guard.disarm()
    time.sleep(3 * deadline.PERIOD_S)
    assert not guarded.guard.expired


@pytest.mark.usefixtures("guarded")
def test_a_forked_process_has_a_watchdog_of_its_own() -> None:
    pid = os.fork()
    if pid == 0:
        own = Guarded()
        pause_under(own.guard, 0.02)
        os._exit(0 if own.guard.expired else 1)
    assert os.waitpid(pid, 0)[1] == 0


STOPPED = """
import ctypes, os, signal, sys, time
from kvmabi.kvm import deadline
deadline.GRACE_S = 0.5
guard = deadline.Guard(memoryview(bytearray(8)))
guard.arm(time.monotonic() + 1.0)
print("armed", flush=True)
sys.stdin.readline()
time.sleep(0.2)
print(guard.expired, flush=True)
time.sleep(1.0)
print(guard.expired, flush=True)
"""


def test_a_stopped_process_has_time_to_come_back() -> None:
    """Ctrl-Z is longer than the deadline: judged only after a grace, but judged."""
    command = [sys.executable, "-c", STOPPED]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "armed\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        process.send_signal(signal.SIGCONT)
        rest, _ = process.communicate("\n", timeout=30)
    assert rest == "False\nTrue\n"
