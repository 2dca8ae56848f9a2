"""A change of the ABI, and how bad it is."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace


class Severity(enum.IntEnum):
    """What a change means for programs; the worst one counts."""

    COMPATIBLE = 0
    """Programs built with either header go on as before."""
    ATTENTION = 1
    """Nothing breaks by itself, but somebody should look."""
    BREAKING = 2
    """A program that was right before no longer compiles, or means something else."""

    @property
    def label(self) -> str:
        """The words that reports have for it."""
        return ("compatible", "needs attention", "breaking")[self]


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    `kind` is "capability", "ioctl", "struct", "field", "enumerator", "macro", "function" or
    "architecture"; `what` is what happened to `name` ("added", "moved", ...), `detail` from what to
    what, `why` the reason for its severity.
    """

    severity: Severity
    kind: str
    name: str
    what: str
    detail: str
    why: str
    architectures: tuple[str, ...] = ()


def merge(changes: Mapping[str, Iterable[Change]]) -> list[Change]:
    """The changes of all architectures: equal ones once; the worst first, then by kind and name."""
    found: dict[Change, list[str]] = {}
    for architecture, own in changes.items():
        for change in own:
            found.setdefault(change, []).append(architecture)
    merged = [replace(change, architectures=tuple(names)) for change, names in found.items()]
    return sorted(merged, key=lambda c: (-c.severity, c.kind, c.name, c.what, c.detail))
