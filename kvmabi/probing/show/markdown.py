"""A report as GitHub's Markdown, for a bug report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from kvmabi.probing.show import head
from kvmabi.probing.show.model import Block, Cell, Flow, Note, Pairs, Table

if TYPE_CHECKING:
    from kvmabi.probing.report import Report

_SPECIAL: Final = re.compile(r"([\\`*\[\]<>|~#]|(?<!\w)_|_(?!\w))")
_LONG_FLOW: Final = 40


def render_report(report: Report) -> str:
    """The whole report; lists that are long are folded away."""
    lines = [f"## {escape(head.headline(report))}", ""]
    notes = [f"- {_cell(Cell(note.text, note.style))}" for note in head.glance(report)]
    lines += [*notes, ""] if notes else []
    for title, blocks in head.sections(report):
        lines += [f"### {escape(title)}", "", *render_blocks(blocks)]
    lines.append(f"<sub>{escape(head.closing(report))}</sub>")
    return "\n".join(lines) + "\n"


def render_blocks(blocks: Iterable[Block]) -> Iterator[str]:
    """The lines of the blocks, each followed by an empty one."""
    for block in blocks:
        match block:
            case Note():
                yield from (_cell(Cell(block.text, block.style)), "")
            case Flow():
                yield from _flow(block)
            case Pairs():
                yield from _table((), [(Cell(name), cell) for name, cell in block.rows])
            case Table():
                if block.title:
                    yield from (f"**{escape(block.title)}**", "")
                yield from _table(block.columns, block.rows)


def escape(text: str) -> str:
    """The text, with what Markdown would take for markup marked as itself."""
    return _SPECIAL.sub(r"\\\1", text).replace("\n", " ")


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    return f"**{text}**" if cell.style in ("bad", "warn", "strong") and text else text


def _flow(block: Flow) -> Iterator[str]:
    body = ", ".join(f"`{item.replace('`', '')}`" for item in block.items) or "none"
    if len(block.items) > _LONG_FLOW:
        yield from ("<details>", f"<summary>{escape(block.title)}</summary>", "", body, "")
        yield from ("</details>", "")
    else:
        yield from (f"**{escape(block.title)}**: {body}", "")


def _table(columns: tuple[str, ...], rows: Iterable[tuple[Cell, ...]]) -> Iterator[str]:
    rows = list(rows)
    count = len(columns) or max((len(row) for row in rows), default=0)
    if not count:
        return
    texts = [escape(one.removeprefix(">")) for one in columns] or [""] * count
    rules = ["---:" if one.startswith(">") else "---" for one in columns] or ["---"] * count
    yield f"| {' | '.join(texts)} |"
    yield f"| {' | '.join(rules)} |"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""
