"""Device types, shown."""

from __future__ import annotations

from kvmabi.probing.report import Json
from kvmabi.probing.show.model import Block, Fact, Flow, Note


def blocks(data: Json) -> list[Block]:
    """What to show of the section's data."""
    devices = data["devices"]
    yes = tuple(_label(one) for one in devices if one["creatable"])
    no = tuple(f"{_label(one)} ({one['errno']})" for one in devices if not one["creatable"])
    found: list[Block] = [Flow(f"Can be created, {len(yes)}", yes, "good")]
    found.append(Flow(f"Cannot, {len(no)}", no, "dim"))
    found += [
        Note(f"device type {one['type']} can be created: newer than this ABI", "warn")
        for one in devices
        if one["creatable"] and not one["name"]
    ]
    return found


def _label(one: Json) -> str:
    return str(one["name"]).removeprefix("KVM_DEV_TYPE_") or f"type {one['type']}"


def facts(data: Json) -> dict[str, Fact]:
    """What to compare."""
    return {
        str(one["type"]): Fact("offer", f"device {_label(one)}", int(one["creatable"]))
        for one in data["devices"]
    }
