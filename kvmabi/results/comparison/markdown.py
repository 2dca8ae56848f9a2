"""A comparison of two results as Markdown, to be pasted into a report or a mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmabi.results.comparison.lines import (
    DETAILED,
    DETAILED_CASES,
    DETAILED_DISAGREEMENTS,
    TITLES,
    closing_line,
    head,
    listed,
    old_saw,
)
from kvmabi.results.summary import hex_or_text, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kvmabi.results.comparison.model import Comparison, Pair


def to_markdown(found: Comparison, promises: Mapping[int, str]) -> str:
    """The comparison as Markdown, to be pasted: each case that matters has its row."""
    text = ["# kvmabi: old and new", ""]
    text += [f"- {line.plain}" for line in head(found) if line.plain]
    for kind, title in TITLES.items():
        pairs = found.of(kind)
        if pairs:
            text += ["", f"## {title} ({len(pairs):,})", ""]
            text += _rows(pairs, promises) if kind in DETAILED else _items(pairs)
    text += ["", closing_line(found).plain]
    return "\n".join(text) + "\n"


def _items(pairs: list[Pair]) -> list[str]:
    return [f"- {line.plain.strip()}" for line in listed(pairs)]


def _rows(pairs: list[Pair], promises: Mapping[int, str]) -> list[str]:
    rows = [
        "| case | verdict | promise | step | expected | old saw | new saw |",
        "|---|---|---|---|---|---|---|",
    ]
    for pair in pairs[:DETAILED_CASES]:
        rows += [f"| {' | '.join(map(_cell, cells))} |" for cells in _cells(pair, promises)]
    more = len(pairs) - DETAILED_CASES
    return [*rows, *(["", f"And {more:,} more."] if more > 0 else [])]


def _cells(pair: Pair, promises: Mapping[int, str]) -> Iterator[tuple[str, ...]]:
    head = (f"`{pair.id}`", pair.transition)
    if pair.new is None or not pair.new.disagreements:
        old, new = (one.reason if one else "" for one in (pair.old, pair.new))
        yield (*head, "", "", "", old, new)
        return
    for one in pair.new.disagreements[:DETAILED_DISAGREEMENTS]:
        promise = f"{one.promise}: {promises.get(one.promise, '')}"
        saw = old_saw(pair.old, one), hex_or_text(one.seen)
        yield (*head, promise, shortened(one.step), hex_or_text(one.expected), *saw)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
