"""MSRs, shown."""

from __future__ import annotations

from kvmabi.probing.report import Json
from kvmabi.probing.show.model import Block, Cell, Fact, Flow, Note, Table


def blocks(data: Json) -> list[Block]:
    """What to show of the section's data."""
    saved = data["saved"]
    found: list[Block] = [Flow(f"Saved and restored, {len(saved)}", tuple(map(_label, saved)))]
    rows = tuple(
        (Cell(f"{one['index']:#x}"), Cell(one["name"] or "?"), _value(one["value"]))
        for one in data["features"]
    )
    if rows:
        found.append(Table("Feature MSRs", (">index", "name", ">value"), rows))
    else:
        reason = data["features_reason"] or "this back end lists none"
        found.append(Note(f"No feature MSRs: {reason}", "warn"))
    return found


def _label(one: Json) -> str:
    return str(one["name"]) or f"{one['index']:#x}"


def _value(value: int | None) -> Cell:
    return Cell("listed, not given", "warn") if value is None else Cell(f"{value:#x}")


def facts(data: Json) -> dict[str, Fact]:
    """What to compare."""
    found = {
        f"{one['index']:#x}": Fact("offer", f"MSR {_label(one)} ({one['index']:#x})", 1)
        for one in data["saved"]
    }
    for one in data["features"]:
        key = f"feature {one['index']:#x}"
        value = "not given" if one["value"] is None else f"{one['value']:#x}"
        found[key] = Fact("offer", f"feature MSR {_label(one)}", 1)
        found[f"{key} value"] = Fact("value", f"feature MSR {_label(one)}, value", value)
    return found
