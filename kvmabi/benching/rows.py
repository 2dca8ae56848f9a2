"""The rows of a bench: their names, what the guest says of them, and what becomes of that."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from kvmabi.errors import GuestError

OVERHEAD: Final = "nothing"
"""The row of the empty operation: what measuring itself takes."""
PLAIN_ROWS: Final = ("cpuid", "inl_from_pmtimer", "outl_to_kernel")
TESTDEV_ROWS: Final = ("pci-mem", "pci-io")
VMCALL: Final = "vmcall"
END: Final = "end"

SERIES_2013: Final = {
    "vmcall": 1519,
    "outl_to_kernel": 1745,
    "mmio-no-eventfd:pci-mem": 9075,
    "mmio-wildcard-eventfd:pci-mem": 3529,
    "mmio-datamatch-eventfd:pci-mem": 3509,
    "mmio-pv-eventfd:pci-mem": 1878,
    "portio-no-eventfd:pci-io": 5535,
    "portio-wildcard-eventfd:pci-io": 1846,
    "portio-datamatch-eventfd:pci-io": 1848,
    "portio-pv-eventfd:pci-io": 1842,
}
"""The cover letter's cycles an operation, on hardware of 2013. Source: FACTS.md 1, PV_MMIO."""

KEYS: Final = ("made", "min", "p25", "p75", "p99", "max", "mean")
NOISY: Final = 0.05
"""A row is noisy if no other round comes closer to its quietest than this share of it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A row as one run of the guest gave it, in cycles with the measuring's own included."""

    name: str
    median: int
    made: int
    """How often the operation was made, the warm-up and other CPUs included."""
    least: int
    p25: int
    p75: int
    p99: int
    most: int
    mean: int
    count: int | None = None
    """What pci-testdev, or the host, has counted of them; None where nobody counts."""
    exits: int | None = None
    signals: int | None = None
    """How they came to our host: by an exit, or by an eventfd; None where it was not ours."""


def parse(text: str) -> list[Measured]:
    """The rows that the guest has sent; raises GuestError for what it cannot have."""
    lines = text.replace("\r", "").splitlines()
    if not lines or lines[-1] != END:
        last = lines[-1][:60] if lines else "nothing"
        raise GuestError(f"the bench guest did not come to its end: its last words are {last!r}")
    return [_row(line) for line in lines[:-1]]


def _row(line: str) -> Measured:
    try:
        name, median, *pairs = line.split()
        values = {key: int(value) for key, _, value in (pair.partition("=") for pair in pairs)}
        made, least, p25, p75, p99, most, mean = (values[key] for key in KEYS)
        count = values.get("count")
        return Measured(name, int(median), made, least, p25, p75, p99, most, mean, count)
    except (ValueError, KeyError, TypeError):
        raise GuestError(f"the bench guest sent a line that is no row: {line[:80]!r}") from None


@dataclass(slots=True)
class Row:
    """A row over all rounds, on one side."""

    name: str
    rounds: list[Measured] = field(default_factory=list)
    overhead: int = 0
    """What measuring takes on this side, where that was quietest."""
    how: str = ""
    """How KVM was asked to serve it, where its name leaves that open."""
    void: str = ""
    """Why the row does not count; empty where it does."""
    skipped: str = ""

    @property
    def quietest(self) -> Measured:
        """The round with the least median: whatever else a machine does only adds cycles."""
        return min(self.rounds, key=lambda one: one.median)

    def cycles(self, what: str = "median") -> float:
        """A figure of the quietest round, without what measuring takes."""
        figure: int = getattr(self.quietest, what)
        return float(max(0, figure - self.overhead))

    @property
    def spread(self) -> float:
        """How far apart the rounds' medians lie, as a share of the median of them."""
        medians = [one.median for one in self.rounds]
        return (max(medians) - min(medians)) / statistics.median(medians)

    @property
    def noisy(self) -> bool:
        """Whether no other round bears the quietest out, or it is no more than measuring takes."""
        medians = sorted(one.median for one in self.rounds)
        if self.name != OVERHEAD and medians[0] <= self.overhead:
            return True
        return len(medians) > 1 and medians[1] > medians[0] * (1 + NOISY)


def check_count(measured: Measured, *, counts_signals: bool) -> str:
    """Why this row is void, empty where it is not: each write must have been counted once.

    And in the one right way, where that is known: a write that exits past its eventfd is a lost
    signal, though the device counts it. QEMU's device counts the writes that exit, and no signals.
    """
    if measured.count is None:
        return ""
    by_exit = "no-eventfd" in measured.name
    expected = measured.made if by_exit or counts_signals else 0
    if measured.count != expected:
        return f"{measured.made} writes were made, and {measured.count} of {expected} counted"
    strays = measured.signals if by_exit else measured.exits
    if strays:
        went = "signalled an eventfd" if by_exit else "exited past the eventfd"
        return f"{strays} of {measured.made} writes {went}"
    return ""


def merge(rows: dict[str, Row], measured: Sequence[Measured], *, counts_signals: bool) -> None:
    """Take one run's rows into those of the side."""
    for one in measured:
        row = rows.setdefault(one.name, Row(one.name))
        row.rounds.append(one)
        row.void = row.void or check_count(one, counts_signals=counts_signals)
    if OVERHEAD in rows:
        overhead = rows[OVERHEAD].quietest.median
        for row in rows.values():
            row.overhead = overhead


def in_order(sides: Iterable[dict[str, Row]]) -> list[str]:
    """All names, in the order in which the first side that has one gave it; the overhead last."""
    names = {name: None for rows in sides for name in rows if name != OVERHEAD}
    return [*names, OVERHEAD]
