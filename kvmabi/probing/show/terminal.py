"""A report on a terminal, by rich: as wide as the terminal, plain text off one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from kvmabi.probing.show import head
from kvmabi.probing.show.model import Block, Cell, Flow, Note, Pairs, Style, Table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kvmabi.probing.report import Report

STYLES: Final[dict[Style, str]] = {
    "": "",
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
    "dim": "dim",
    "strong": "bold",
}
_INDENT: Final = (0, 0, 0, 2)


def print_report(console: Console, report: Report) -> None:
    """Print the whole report."""
    with _without_trailing_spaces(console):
        _print_report(console, report)


def _print_report(console: Console, report: Report) -> None:
    console.print(Text(head.headline(report), style="bold"), soft_wrap=True)
    for note in head.glance(report):
        console.print(Text(f"• {note.text}", style=STYLES[note.style]), soft_wrap=True)
    for title, blocks in head.sections(report):
        console.print()
        console.print(Rule(Text(title, style="bold cyan"), align="left", style="cyan"))
        _print_blocks(console, blocks)
    console.print()
    console.print(Text(head.closing(report), style="dim"), soft_wrap=True)


@contextmanager
def _without_trailing_spaces(console: Console) -> Iterator[None]:
    """Off a terminal, leave out the spaces that fill lines up: nobody sees their background."""
    if console.is_terminal:
        yield
        return
    with console.capture() as captured:
        yield
    lines = captured.get().splitlines()
    console.file.write("".join(f"{line.rstrip()}\n" for line in lines))


def print_blocks(console: Console, blocks: Iterable[Block]) -> None:
    """Print one block after the other, with an empty line before each that is large."""
    with _without_trailing_spaces(console):
        _print_blocks(console, blocks)


def _print_blocks(console: Console, blocks: Iterable[Block]) -> None:
    for index, block in enumerate(blocks):
        if index and (isinstance(block, Table | Pairs) or len(getattr(block, "items", "")) > 12):
            console.print()
        console.print(Padding(_drawn(block), _INDENT))


def _text(cell: Cell) -> Text:
    return Text(cell.text, style=STYLES[cell.style])


def _drawn(block: Block) -> RenderableType:
    match block:
        case Note():
            return Text(block.text, style=STYLES[block.style])
        case Flow():
            return _flow(block)
        case Pairs():
            grid = RichTable.grid(padding=(0, 2))
            grid.add_column(style="dim", no_wrap=True)
            grid.add_column(overflow="fold")
            for name, cell in block.rows:
                grid.add_row(name, _text(cell))
            return grid
        case Table():
            return Group(*_title(block), _table(block))


def _flow(block: Flow) -> RenderableType:
    grid = RichTable.grid(padding=(0, 1))
    grid.add_column(overflow="fold")
    grid.add_row(Text(block.title, style=STYLES[block.style] or "bold"))
    items = block.items or ("none",)
    # A space inside an item must not be where the line breaks.
    body = ", ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in items)
    grid.add_row(Padding(Text(body, style="dim" if block.style == "dim" else ""), _INDENT))
    return grid


def _title(block: Table) -> list[RenderableType]:
    bad = block.title.startswith(("MISSING", "LOST"))
    return [Text(block.title, style="bold red" if bad else "bold")] if block.title else []


def _table(block: Table) -> RenderableType:
    table = RichTable(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    last = len(block.columns) - 1
    for index, name in enumerate(block.columns):
        table.add_column(
            name.removeprefix(">"),
            justify="right" if name.startswith(">") else "left",
            no_wrap=index < last,
            overflow="fold",
        )
    for row in block.rows:
        table.add_row(*map(_text, row))
    return table
