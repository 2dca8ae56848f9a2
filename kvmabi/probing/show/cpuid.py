"""CPUID, shown."""

from __future__ import annotations

from kvmabi.probing.report import Json
from kvmabi.probing.show.model import Block, Cell, Fact, Flow, Note, Table


def blocks(data: Json) -> list[Block]:
    """What to show of the section's data."""
    found: list[Block] = []
    for key, title in (("supported", "Supported"), ("emulated", "Emulated without the CPU")):
        part = data[key]
        rows = tuple(_row(one) for one in part["features"] if one["names"] or one["unnamed_bits"])
        if rows:
            found.append(Table(f"{title}: features", (">leaf", "register", "features"), rows))
        entries = part["entries"]
        leaves = tuple(_leaf(one) for one in entries)
        found.append(Flow(f"{title}: {len(entries)} leaves", leaves))
    if data["emulated"]["reason"]:
        found.append(Note(f"Emulated CPUID: {data['emulated']['reason']}", "warn"))
    return found


def _leaf(one: Json) -> str:
    return f"{one['function']:#x}.{one['index']}" if one["indexed"] else f"{one['function']:#x}"


def _row(one: Json) -> tuple[Cell, ...]:
    rest = one["unnamed_bits"]
    names = [*one["names"], *([f"{rest:#x} without a name"] if rest else [])]
    leaf = f"{one['function']:#x}" + (f".{one['index']}" if one["index"] else "")
    return Cell(leaf), Cell(one["register"]), Cell(" ".join(names))


def facts(data: Json) -> dict[str, Fact]:
    """What to compare: features by name, unnamed bits as masks."""
    found = {}
    for key in ("supported", "emulated"):
        for one in data[key]["features"]:
            place = f"{one['function']:#x}.{one['index']} {one['register']}"
            for name in one["names"]:
                label = f"{key} CPUID {name} ({place})"
                found[f"{key} {place} {name}"] = Fact("offer", label, 1)
            if one["unnamed_bits"]:
                label = f"{key} CPUID {place}, bits without a name"
                found[f"{key} {place} unnamed"] = Fact("mask", label, one["unnamed_bits"])
    return found
