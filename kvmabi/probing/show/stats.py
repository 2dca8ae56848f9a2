"""Binary statistics, shown."""

from __future__ import annotations

from kvmabi.probing.report import Json
from kvmabi.probing.show.model import Block, Cell, Fact, Flow, Table, thousands

_OWNERS = {"vm": "VM", "vcpu": "vCPU"}


def blocks(data: Json) -> list[Block]:
    """What to show of the section's data: those that are not zero, and the names of the others."""
    found: list[Block] = []
    for key, owner in _OWNERS.items():
        statistics = data[key]["statistics"]
        moved = [one for one in statistics if any(one["values"])]
        rows = tuple(
            (Cell(one["name"]), Cell(one["kind"]), Cell(_values(one)), Cell(_unit(one)))
            for one in moved
        )
        title = f"{owner}: {len(statistics)} statistics, of which not zero when fresh"
        if rows:
            found.append(Table(title, ("name", "kind", ">value", "unit"), rows))
        zero = tuple(_name(one) for one in statistics if not any(one["values"]))
        found.append(Flow(f"{owner}: zero when fresh, {len(zero)}", zero))
    return found


def _values(one: Json) -> str:
    values = one["values"]
    if len(values) == 1:
        return thousands(values[0])
    return f"{thousands(sum(values))} in {sum(map(bool, values))} of {len(values)} buckets"


def _unit(one: Json) -> str:
    return " ".join(text for text in (one["scale"], one["unit"]) if text)


def _name(one: Json) -> str:
    parts = [_unit(one)] if one["unit"] else []
    parts += [f"{len(one['values'])} buckets"] if len(one["values"]) > 1 else []
    return f"{one['name']} ({', '.join(parts)})" if parts else str(one["name"])


def facts(data: Json) -> dict[str, Fact]:
    """What to compare: which statistics there are, whatever they count."""
    return {
        f"{key} {one['name']}": Fact("offer", f"{owner} statistic {one['name']}", 1)
        for key, owner in _OWNERS.items()
        for one in data[key]["statistics"]
    }
