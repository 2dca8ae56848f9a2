"""Limits, shown."""

from __future__ import annotations

from kvmabi.probing.report import Json
from kvmabi.probing.show.model import Block, Cell, Fact, Pairs, thousands

_WORDS = {
    "vcpus_recommended": "vCPUs recommended",
    "vcpus": "vCPUs in a VM",
    "vcpu_ids": "vCPU ids",
    "memslots": "memory slots",
    "address_spaces": "address spaces",
    "irq_routes": "interrupt routes",
    "mce_banks": "machine-check banks",
    "xsave_bytes": "XSAVE state",
    "nested_state_bytes": "nested state",
    "dirty_ring_bytes": "dirty ring",
    "dirty_ring_acq_rel_bytes": "dirty ring (acquire/release)",
    "vcpu_mapping_bytes": "vCPU mapping",
}
_OF_THE_MACHINE = ("vcpus_recommended", "vcpu_mapping_bytes", "xsave_bytes")


def blocks(data: Json) -> list[Block]:
    """What to show of the section's data."""
    rows = []
    for one in data["limits"]:
        text = f"{thousands(one['value'])} {one['unit']}" if one["value"] else "none"
        if one["name"].startswith("dirty_ring") and one["value"]:
            text += f" ({thousands(data['dirty_ring_entries'])} pages)"
        rows.append((_WORDS[one["name"]], Cell(text, "" if one["value"] else "dim")))
    types = ", ".join(_type(one) for one in data["vm_types"])
    rows.append(("VM types", Cell(types)))
    if data["tsc_khz"]:
        rows.append(("guest TSC", Cell(f"{thousands(data['tsc_khz'])} kHz")))
    return [Pairs(tuple(rows))]


def _type(one: Json) -> str:
    ordinary = "without a name" if one["type"] else "the ordinary one"
    return f"{one['type']} ({one['name'] or ordinary})"


def facts(data: Json) -> dict[str, Fact]:
    """What to compare."""
    found: dict[str, Fact] = {}
    for one in data["limits"]:
        label = _WORDS.get(one["name"], one["name"])
        of_the_machine = one["name"] in _OF_THE_MACHINE
        found[one["name"]] = Fact("value" if of_the_machine else "limit", label, one["value"])
    for one in data["vm_types"]:
        label = f"VM type {one['type']} {one['name']}".rstrip()
        found[f"VM type {one['type']}"] = Fact("offer", label, 1)
    return found
