"""A comparison of two reports, as blocks."""

from __future__ import annotations

from kvmabi.probing.compare import Change, Comparison
from kvmabi.probing.show.model import Block, Cell, Note, Pairs, Style, Table


def blocks(found: Comparison) -> list[Block]:
    """What to show: what was lost first, and a sentence where there is nothing."""
    shown: list[Block] = [
        Pairs((("older", Cell(found.older)), ("newer", Cell(found.newer, "strong"))))
    ]
    shown += _table("LOST: the older kernel has it, the newer has not", found.lost, "bad")
    shown += _table("Gained", found.gained, "good")
    shown += _table("Changed, without loss or gain", found.changed, "")
    shown += _table("Different, as the CPUs are", found.by_cpu, "dim")
    shown += [Note(f"not compared: {one}", "warn") for one in found.not_compared]
    lost = f"{len(found.lost)} lost" if found.lost else "nothing lost"
    style: Style = "bad" if found.lost else "good"
    counts = f"{lost}, {len(found.gained)} gained, {len(found.changed)} changed"
    shown.append(Note(f"{counts}, of {found.compared:,} compared", style))
    return shown


def _table(title: str, changes: list[Change], style: Style) -> list[Block]:
    if not changes:
        return []
    rows = tuple(
        (Cell(one.section, "dim"), Cell(one.label, style), Cell(one.old), Cell(one.new))
        for one in changes
    )
    return [Table(f"{title} ({len(changes)})", ("section", "what", "older", "newer"), rows)]
