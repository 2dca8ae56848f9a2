"""Faults and what became of them, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from kvmabi.lab.mutation.faults import Fault, Needs
from kvmabi.lab.mutation.record import Row, as_expected, tells_another
from kvmabi.lab.mutation.verdict import Outcome

REMEDIES: Final[Mapping[Needs, str]] = MappingProxyType(
    {
        Needs.SVM: "AMD's SVM: --backend svm, or --all",
        Needs.VMX: "Intel's VMX: --backend vmx, or --all",
        Needs.DEBUG: "a kernel that looks for leaks: --all",
        Needs.PV_MMIO: "a kernel with the patch pv-mmio: --all",
        Needs.RACE: "threads that race, which no case of the matrix has",
        Needs.FAILSLAB: "an allocation that fails at the right moment, which no case has",
    }
)
"""What it takes to try such a fault, and how to have that."""


def listing(faults: Iterable[Fault]) -> str:
    """Return a line for each fault: name, promise, subject, what it needs, and what it is about."""
    return "\n".join(
        f"{one.name:36} {_promise(one):>2} {one.subject:10} {one.needs:8} {_about(one)}"
        for one in faults
    )


def table(ended: Sequence[tuple[Fault, Row]]) -> str:
    """Return a line for each fault that ended, and one that counts them.

    What is not as it should be is marked, and so is a kill that another promise explains.
    """
    lines = [
        f"{fault.name:36} {_promise(fault):>2} {row.outcome:14} {_by(row)}{_mark(fault, row)}"
        for fault, row in ended
    ]
    counts = Counter(row.outcome for _, row in ended)
    odd = sum(_is_odd(fault, row) for fault, row in ended)
    total = ", ".join(f"{counts[one]:,} {one}" for one in Outcome if counts[one])
    lines.append(f"{len(ended):,} faults and controls: {total}; {odd:,} not as it should be")
    return "\n".join(lines)


def left_out(faults: Iterable[Fault], ended: Iterable[tuple[Fault, Row]]) -> str:
    """Return a line for each kind of those faults that were not tried, by what they need."""
    tried = {fault.name for fault, row in ended if row.outcome is not Outcome.NOT_RUN}
    counts = Counter(one.needs for one in faults if one.name not in tried)
    return "\n".join(
        f"{counts[needs]:,} left out, as what they need is {remedy}"
        for needs, remedy in REMEDIES.items()
        if counts[needs]
    )


def _promise(fault: Fault) -> str:
    return str(fault.promise or "-")


def _about(fault: Fault) -> str:
    why = fault.unseen or fault.harmless
    return f"{fault.about} ({why})" if why else fault.about


def _by(row: Row) -> str:
    if row.outcome is not Outcome.KILLED:
        return row.text or f"{row.executed:,} cases"
    saw = "".join(f", promise {one}" for one in row.promises)
    return f"{row.case or 'no case'}{saw}: {row.text}"


def _is_odd(fault: Fault, row: Row) -> bool:
    return row.outcome is not Outcome.NOT_RUN and not as_expected(fault, row.outcome)


def _mark(fault: Fault, row: Row) -> str:
    if _is_odd(fault, row):
        return "   <-- not as it should be"
    if tells_another(fault, row):
        return f"   <-- not promise {fault.promise}"
    return f" ({fault.unseen or fault.harmless})" if row.outcome is Outcome.SURVIVED else ""
