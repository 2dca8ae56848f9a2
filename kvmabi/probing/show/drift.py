"""Drift, shown."""

from __future__ import annotations

from kvmabi.probing.report import Json
from kvmabi.probing.show.model import Block, Cell, Fact, Note, Table, abi_name


def blocks(data: Json) -> list[Block]:
    """What to show of the section's data."""
    counts = ", ".join(f"{count:,} {what}" for what, count in data["compared"].items())
    differences = data["differences"]
    head = f"{len(differences)} differences" if differences else "No difference"
    text = f"{head} between the running kernel and {abi_name(data)}"
    found: list[Block] = [Note(f"{text}; compared {counts}.", "warn" if differences else "good")]
    if differences:
        rows = tuple(
            (
                Cell(one["kind"]),
                Cell(one["subject"]),
                _side(one["built_in"]),
                _side(one["running"]),
            )
            for one in differences
        )
        side = "headers" if data.get("headers") else "built in"
        columns = ("what", "of", f">{side} ({data['abi_version']})", ">running")
        found.append(Table("", columns, rows))
    found.append(Note("Not compared: " + "; ".join(data["not_compared"]) + "."))
    return found


def _side(value: int | None) -> Cell:
    return Cell("-", "dim") if value is None else Cell(f"{value:,}")


def facts(_: Json) -> dict[str, Fact]:
    """Nothing: drift is already a comparison, with the ABI of the kvmabi that made the report."""
    return {}
