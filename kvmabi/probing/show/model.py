"""The pieces that a section is shown with, whatever draws them; and the facts to compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from kvmabi.probing.report import Json

Style = Literal["", "good", "bad", "warn", "dim", "strong"]


class Cell(NamedTuple):
    """A text and how it is meant."""

    text: str
    style: Style = ""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names with their values, one a line."""

    rows: tuple[tuple[str, Cell], ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under headings; headings that start with ">" stand to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """Many short items, one after the other; `style` is that of the title."""

    title: str
    items: tuple[str, ...]
    style: Style = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence."""

    text: str
    style: Style = "dim"


Block = Pairs | Table | Flow | Note


class Fact(NamedTuple):
    """Something that one kernel may have and another not.

    `kind`: "offer" (1 had, 0 not), "mask" (bits), "limit" (more is better), or "value" (a text or
    number that may differ without loss). Where a report has no such fact, an offer, mask or limit
    counts as 0. `names` are those of a mask's bits that are set.
    """

    kind: Literal["offer", "mask", "limit", "value"]
    label: str
    value: int | str
    names: tuple[str, ...] = ()


class ShowModule(Protocol):
    """What a module of kvmabi.probing.show offers for its section."""

    def blocks(self, data: Json, /) -> list[Block]:
        """What to show of the section's data."""

    def facts(self, data: Json, /) -> dict[str, Fact]:
        """What to compare, by a key that stays the same from report to report."""


def yes_no(value: object) -> Cell:
    """A green yes or a red no."""
    return Cell("yes", "good") if value else Cell("no", "bad")


def thousands(number: float) -> str:
    """12,345."""
    return f"{number:,}"


def abi_name(data: Json) -> str:
    """What the running kernel was compared with: the built-in ABI, or headers that were named."""
    headers = data.get("headers")
    if headers:
        return f"the headers {headers}"
    return f"the built-in ABI of Linux {data['abi_version']}"
