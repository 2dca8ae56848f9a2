"""Changes -> text, JSON and Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kvmabi.abi.diff.changes import Change, Severity
from kvmabi.arch import ARCHITECTURES

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN: Final = 6
_STYLES: Final = {
    Severity.BREAKING: "bold red",
    Severity.ATTENTION: "yellow",
    Severity.COMPATIBLE: "green",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The changes between two named sides, the worst first, and what was not compared."""

    old: str
    new: str
    changes: tuple[Change, ...]
    architectures: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def breaking(self) -> bool:
        """Whether a change breaks programs."""
        return any(change.severity is Severity.BREAKING for change in self.changes)

    def of(self, severity: Severity) -> list[Change]:
        """The changes of one severity."""
        return [change for change in self.changes if change.severity is severity]

    def summary(self) -> str:
        """One line: how many of each severity."""
        counts = Counter(change.severity for change in self.changes)
        words = [f"{counts[one]} {one.label}" for one in sorted(Severity, reverse=True)]
        if counts[Severity.ATTENTION] != 1:
            words[1] = words[1].replace("needs", "need")
        return f"{self.old} -> {self.new}: {', '.join(words)}"

    def to_json(self) -> str:
        """All changes as one JSON object."""
        changes = [
            {
                "severity": change.severity.label,
                "kind": change.kind,
                "name": change.name,
                "what": change.what,
                "detail": change.detail,
                "why": change.why,
                "architectures": list(change.architectures),
            }
            for change in self.changes
        ]
        facts = {
            "old": self.old,
            "new": self.new,
            "architectures": list(self.architectures),
            "counts": {one.label: len(self.of(one)) for one in Severity},
            "notes": list(self.notes),
            "changes": changes,
        }
        return json.dumps(facts, indent=1) + "\n"

    def to_markdown(self) -> str:
        """All changes as Markdown, one table a severity."""
        lines = [f"# ABI: {self.old} to {self.new}", ""]
        lines += [f"Compared: {', '.join(self.architectures)}.", ""]
        lines += [f"Note: {note}.\n" for note in self.notes]
        for severity in sorted(Severity, reverse=True):
            rows = self.of(severity)
            lines += [f"## {severity.label.capitalize()}: {len(rows)}", ""]
            if rows:
                lines += ["| what | name | change | why | on |", "|---|---|---|---|---|"]
                lines += [_markdown_row(change, self.architectures) for change in rows]
                lines.append("")
        return "\n".join(lines).rstrip() + "\n"

    def show(self, console: Console, *, everything: bool = False) -> None:
        """Print the changes; compatible ones, and many of a kind, shortened unless told."""
        for severity in sorted(Severity, reverse=True):
            rows = self.of(severity)
            if not rows:
                continue
            console.print(
                f"{severity.label.upper()} ({len(rows)})", style=_STYLES[severity], highlight=False
            )
            for group in _groups(rows, everything=everything):
                head, tail = _group_text(group, self.architectures, everything=everything)
                console.print(
                    f"  {head}", style="bold", markup=False, highlight=False, soft_wrap=True
                )
                console.print(f"      {tail}", markup=False, highlight=False, soft_wrap=True)
        for note in self.notes:
            console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
        console.print(self.summary(), style="bold", markup=False, highlight=False, soft_wrap=True)


def _where(change: Change, everywhere: Sequence[str]) -> str:
    names = change.architectures
    if len(names) == len(everywhere) > 1:
        return "all"
    return ", ".join(name for name in ARCHITECTURES if name in names)


def _groups(changes: Iterable[Change], *, everything: bool) -> Iterator[list[Change]]:
    """Changes that say the same of several names together; each alone where all is wanted."""
    groups: dict[tuple[object, ...], list[Change]] = {}
    for change in changes:
        key: tuple[object, ...] = (change.kind, change.what, change.why, change.architectures)
        if change.severity is Severity.COMPATIBLE:
            key = (change.kind, change.what)
        if everything or change.what not in ("added", "removed", "has a value now"):
            key = (*key, change.name, change.detail, change.architectures)
        groups.setdefault(key, []).append(change)
    yield from groups.values()


def _group_text(
    group: list[Change], everywhere: Sequence[str], *, everything: bool
) -> tuple[str, str]:
    first = group[0]
    if len(group) == 1:
        detail = f": {first.detail}" if first.detail else ""
        head = f"{first.kind} {first.name} {first.what}{detail}"
        return head, f"{first.why} [{_where(first, everywhere)}]"
    names = list(dict.fromkeys(change.name for change in group))
    shown = names if everything else names[:_SHOWN]
    more = f", and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    same = {change.detail for change in group}
    detail = f" ({first.detail})" if len(same) == 1 and first.detail else ""
    head = f"{len(names)} {_plural(first.kind)} {first.what}{detail}"
    if first.severity is Severity.COMPATIBLE:
        return head, f"{', '.join(shown)}{more}"
    return head, f"{', '.join(shown)}{more}: {first.why} [{_where(first, everywhere)}]"


def _plural(kind: str) -> str:
    return "capabilities" if kind == "capability" else f"{kind}s"


def _markdown_row(change: Change, everywhere: Sequence[str]) -> str:
    change_text = f"{change.what}: {change.detail}" if change.detail else change.what
    cells = (
        change.kind, f"`{change.name}`", change_text, change.why, _where(change, everywhere)
    )  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
