"""Print how many cases a second the matrix plays, beside the same cases on one VM at a time.

Both are measured in turn, in one run, since absolute figures drift: the ratio is what counts. Each
assign and deassign waits for a grace period, so one VM at a time shows what the waits cost, and
many VMs side by side how much of that is overlapped.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kvmabi.errors import ExitCode, KvmAbiError
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.detect import detect_kernel
from kvmabi.ioeventfd.run import Supervisor, default_jobs
from kvmabi.ioeventfd.select import select
from kvmabi.ioeventfd.steps import Case
from kvmabi.kvm import System

SAMPLE: Final = 300
"""Cases that are played on one VM at a time; spread evenly over the matrix."""
COPIES: Final = 40
"""How many times over the sample is played side by side, so that both take some seconds."""
MOST_IOCTLS: Final = 16
MOST_ELEMENTS: Final = 64
"""Cases with more are left out: thousands of registrations or writes in a row would only measure
the kernel, and not how well the waits between them are overlapped."""
ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """How many cases ended in how many seconds, and how many of them were not as promised."""

    cases: int
    seconds: float
    broken: int

    @property
    def per_second(self) -> float:
        """Cases a second."""
        return self.cases / self.seconds


def sample(cases: Sequence[Case], count: int) -> list[Case]:
    """Return `count` cases (or all, where there are fewer) at even distances."""
    small = [
        case for case in cases if case.ioctls <= MOST_IOCTLS and case.elements <= MOST_ELEMENTS
    ]
    step = max(1, len(small) // count)
    return small[::step][:count]


def measure(cases: Sequence[Case], kernel: Kernel, jobs: int) -> Rate:
    """Return the rate at which `cases` end on `jobs` VMs, start of the workers included."""
    started = time.perf_counter()
    reports = [report for batch in Supervisor(cases, kernel, jobs=jobs).run() for report in batch]
    seconds = time.perf_counter() - started
    if len(reports) != len(cases):
        raise KvmAbiError(f"{len(cases)} cases were planned and {len(reports)} ended")
    broken = sum(bool(report.error or report.disagreements) for report in reports)
    return Rate(len(reports), seconds, broken)


def main() -> int:
    """Print the rates of each round, and the medians with their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=default_jobs(), help="VMs side by side")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    with System.open() as system:
        kernel = detect_kernel(system)
    chosen = sample(select([]), SAMPLE)
    alone: list[Rate] = []
    together: list[Rate] = []
    for _ in range(args.rounds):
        alone.append(measure(chosen, kernel, 1))
        together.append(measure(chosen * COPIES, kernel, args.jobs))
        print(
            f"one VM at a time: {alone[-1].per_second:7,.0f} cases/s   "
            f"{args.jobs} VMs: {together[-1].per_second:7,.0f} cases/s",
            flush=True,
        )
    one = statistics.median(rate.per_second for rate in alone)
    many = statistics.median(rate.per_second for rate in together)
    broken = sum(rate.broken for rate in alone + together)
    print(
        f"median of {args.rounds}: {one:,.0f} and {many:,.0f} cases/s: {many / one:.1f} times, "
        f"on {len(os.sched_getaffinity(0))} CPUs; {broken} not as promised"
    )
    return ExitCode.BROKEN if broken else ExitCode.KEPT


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KvmAbiError as error:
        sys.exit(f"bench_matrix: {error}")
