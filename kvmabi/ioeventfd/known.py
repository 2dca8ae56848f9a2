"""Where kernels are known to do otherwise than the contract says. Pure: no device is touched.

The contract stays as it is: what is written here only tells a disagreement that has been looked
into from one that is news. A record says in which kernels and on which hardware it holds, which
accesses of a case it can be about, which promise is broken, and in what way. A disagreement that
differs in any of these is none of it, and fails its case as ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.compare import Disagreement
from kvmabi.ioeventfd.contract import Bus, Kernel, fragments
from kvmabi.ioeventfd.describe import access_text
from kvmabi.ioeventfd.oracle import Oracle
from kvmabi.ioeventfd.steps import (
    Access,
    Case,
    CloseFd,
    DupFd,
    GuestRun,
    Ioeventfd,
    Layout,
    OpenFd,
    Place,
    ReplaceVm,
    Together,
)

Release = tuple[int, int]
Shape = Callable[[Disagreement], bool]
NO_EXIT: Final = "no exit"
LAYOUT: Final = Layout(bar0=1 << 32, bar1=0xC000)
"""Any that keeps the two BARs apart: where they are changes nothing of what is asked here."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a case ran on: the kernel's `release` ((6, 1)), KVM's module, and whether it has EPT."""

    release: Release
    back_end: str
    ept: bool

    @classmethod
    def of(cls, kernel_release: str, back_end: str, *, ept: bool) -> Setting:
        """Return the setting of a kernel by its ``uname -r``; (0, 0) for one that has no number."""
        found = re.match(r"(\d+)\.(\d+)", kernel_release)
        release = (int(found[1]), int(found[2])) if found else (0, 0)
        return cls(release, back_end, ept)


@dataclass(frozen=True, slots=True)
class Divergence:
    """One way in which kernels from `first` to `last` differ from the contract."""

    reason: str
    first: Release
    last: Release
    back_end: str
    ept: bool
    write: bool
    """Whether it shows in writes, or in reads."""
    promise: int
    shapes: tuple[Shape, ...]
    """What a disagreement may look like: one of these."""

    def holds_in(self, setting: Setting) -> bool:
        """Return whether it has been seen, or read in the source, for this setting."""
        return (
            self.first <= setting.release <= self.last
            and self.back_end == setting.back_end
            and self.ept == setting.ept
        )

    def covers(self, found: Disagreement, accesses: Sequence[Access]) -> bool:
        """Return whether a disagreement about one of these accesses is this divergence."""
        told = re.split(r": |; | \|\| ", found.step)
        return (
            any(each.write == self.write and access_text(each) in told for each in accesses)
            and found.promise == self.promise
            and any(shape(found) for shape in self.shapes)
        )


def known(
    case: Case, disagreements: Sequence[Disagreement], setting: Setting, kernel: Kernel
) -> str:
    """Return why all that disagrees in a case is known; "" where anything of it is not."""
    if not disagreements:
        return ""
    accesses = list(at_any_length(case, kernel))
    here = [each for each in DIVERGENCES if each.holds_in(setting)]
    reasons = [
        next((each.reason for each in here if each.covers(found, accesses)), "")
        for found in disagreements
    ]
    return "; ".join(dict.fromkeys(reasons)) if all(reasons) else ""


def at_any_length(case: Case, kernel: Kernel) -> Iterator[Access]:
    """Yield the accesses that touch an address where MMIO of any length is registered by then.

    So does PV_MMIO, where the kernel has it: both are on the fast bus.
    """
    oracle = Oracle(kernel, LAYOUT)
    fast: set[tuple[int, Place]] = set()
    for step in case.steps:
        match step:
            case OpenFd():
                oracle.open_fd(step)
            case DupFd():
                oracle.dup_fd(step)
            case CloseFd():
                oracle.close_fd(step)
            case ReplaceVm():
                oracle.replace_vm(step)
                fast = {each for each in fast if each[0] != step.vm}
            case Ioeventfd() if not oracle.ioeventfd(step).errno and _is_fast(step):
                change = fast.discard if step.is_deassign else fast.add
                change((step.vm, step.place))
        for run in _runs(step):
            for access in run.accesses:
                if any((run.vm, place) in fast for place in _places(access)):
                    yield access


def _is_fast(step: Ioeventfd) -> bool:
    return Bus.of_flags(step.flags) is Bus.MMIO and (step.len == 0 or step.pv_mmio)


def _runs(step: object) -> Sequence[GuestRun]:
    if isinstance(step, Together):
        return step.runs
    return (step,) if isinstance(step, GuestRun) else ()


def _places(access: Access) -> Iterator[Place]:
    """Yield where an access reaches the bus: each element of a string, each part of a split one."""
    if access.bus is not Bus.MMIO:
        return
    count = len(access.values) if access.string else 1
    for index in range(count):
        start = access.place.offset + index * access.width
        for offset, _, _ in fragments(access.bus, start, access.width):
            yield Place(access.place.base, offset)


def exits_cut_short(found: Disagreement) -> bool:
    """Return whether exits came as promised at first, and then no more."""
    wanted, seen = _exits(found.expected), _exits(found.seen)
    return len(seen) < len(wanted) and wanted[: len(seen)] == seen


def _exits(text: str) -> list[str]:
    return [] if text == NO_EXIT else text.split("; ")


def signalled_once_too_often(found: Disagreement) -> bool:
    """Return whether an eventfd holds one more than was promised."""
    return _surplus(found) == 1


def signals_lost(found: Disagreement) -> bool:
    """Return whether an eventfd holds less than was promised."""
    return _surplus(found) < 0


def _surplus(found: Disagreement) -> int:
    wanted = re.fullmatch(r"eventfd \w+ holds (0x[0-9a-f]+)", found.expected)
    seen = re.fullmatch(r"it holds (0x[0-9a-f]+)", found.seen)
    return int(seen[1], 16) - int(wanted[1], 16) if wanted and seen else 0


DIVERGENCES: Final = (
    Divergence(
        "VMX with EPT takes a guest's read where any length is registered for a write: it signals, "
        "and does not exit (handle_ept_misconfig, since 68c3b4d1676d)",
        first=(6, 1),
        last=(6, 12),
        back_end="kvm_intel",
        ept=True,
        write=False,
        promise=promises.READ,
        shapes=(exits_cut_short, signalled_once_too_often),
    ),
    Divergence(
        "VMX with EPT skips the whole instruction once it has signalled where any length is "
        "registered: the rest of a string, or of a write that straddles a page, is lost "
        "(handle_ept_misconfig, since 68c3b4d1676d)",
        first=(6, 1),
        last=(6, 12),
        back_end="kvm_intel",
        ept=True,
        write=True,
        promise=promises.ELEMENTS,
        shapes=(exits_cut_short, signals_lost),
    ),
)
"""Seen with Debian's 6.1 and 6.12 on VMX in the lab, and read in the source. A page that was
never touched is no part of it: its first access is decoded, so that a case may pass at one time
and disagree at another."""
