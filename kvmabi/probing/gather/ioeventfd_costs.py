"""What it costs to register an ioeventfd and to remove it, and how many fit into a VM."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from kvmabi import uapi
from kvmabi.kvm import System
from kvmabi.probing.gather.common import errno_name
from kvmabi.probing.report import Json

BASE: Final = 0xE000_0000
SAMPLES: Final = 24
REGISTRATION_BUDGET_S: Final = 0.06
"""Time for the samples of assign, of deassign and of pairs, each;
at least MIN_SAMPLES of each are taken anyway."""
MIN_SAMPLES: Final = 4

CAPACITY_BOUND: Final = 1200
"""Registrations tried in one VM: more than the 300 and 1,000 of older kernels."""
CAPACITY_BUDGET_S: Final = 0.3
"""After this the trial ends, unless half of it is done: then the rest takes no longer."""


@contextmanager
def eventfd() -> Iterator[int]:
    """A new eventfd's descriptor, closed at the end."""
    fd = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def argument_of(fd: int, addr: int, length: int, flags: int) -> uapi.kvm_ioeventfd:
    """The argument of a KVM_IOEVENTFD."""
    argument = uapi.kvm_ioeventfd()
    argument.fd = fd
    argument.addr = addr
    argument.len = length
    argument.flags = flags
    return argument


def registration_costs(system: System) -> Json:
    """Microseconds of assign and deassign in a VM of their own with one vCPU, call by call.

    `assign` and `deassign` are taken in two runs, one after the other; `pair` is an assign and the
    deassign right after it, which waits for what the assign has put off.
    """
    with eventfd() as fd, system.create_vm() as vm, vm.create_vcpu(0):

        def timed(index: int, flags: int) -> int:
            argument = argument_of(fd, BASE + 8 * index, 4, flags)
            begin = time.perf_counter_ns()
            vm.ioeventfd(argument)
            return time.perf_counter_ns() - begin

        assigned = _samples(lambda index: timed(index, 0), SAMPLES)
        deassign = uapi.KVM_IOEVENTFD_FLAG_DEASSIGN
        removed = _samples(lambda index: timed(index, deassign), len(assigned))
        # At another address: the deassigns above may have stopped for time, and left some.
        turns = _samples(lambda _: timed(SAMPLES, 0) + timed(SAMPLES, deassign), SAMPLES)
        return {
            "assign": _spread(assigned),
            "deassign": _spread(removed),
            "pair": _spread(turns),
        }


def _samples(take: Callable[[int], int], most: int) -> list[int]:
    end = time.monotonic() + REGISTRATION_BUDGET_S
    found = []
    for index in range(most):
        found.append(take(index))
        if index + 1 >= MIN_SAMPLES and time.monotonic() > end:
            break
    return found


def median(values: Sequence[int]) -> int:
    """The middle value, the upper one of two; `statistics` would take 15 ms to import."""
    return sorted(values)[len(values) // 2]


def _spread(nanoseconds: Sequence[int]) -> Json:
    return {
        "samples": len(nanoseconds),
        "min_us": round(min(nanoseconds) / 1000, 2),
        "median_us": round(median(nanoseconds) / 1000, 2),
        "max_us": round(max(nanoseconds) / 1000, 2),
    }


def capacity(system: System, *, thorough: bool, bound: int = CAPACITY_BOUND) -> Json:
    """How many registrations one VM takes, up to `bound`; `stopped` says what ended the trial.

    "bound": all of them fitted. "refused": the next one gave `errno`. "time": the time for it was
    over first, so that more may fit; `thorough` takes the time that it needs.
    """
    begin = time.monotonic()
    stopped, error, accepted = "bound", 0, 0
    with eventfd() as fd, system.create_vm() as vm:
        while accepted < bound:
            error = vm.try_ioeventfd(argument_of(fd, BASE + 8 * accepted, 4, 0))
            if error:
                stopped = "refused"
                break
            accepted += 1
            late = time.monotonic() - begin > CAPACITY_BUDGET_S
            if late and not thorough and accepted < bound / 2:
                stopped = "time"
                break
        seconds = time.monotonic() - begin
    return {
        "bus": "mmio",
        "bound": bound,
        "accepted": accepted,
        "stopped": stopped,
        "errno": errno_name(error),
        "seconds": round(seconds, 4),
    }
