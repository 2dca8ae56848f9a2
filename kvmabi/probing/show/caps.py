"""Capabilities, shown."""

from __future__ import annotations

from kvmabi.probing.report import Json
from kvmabi.probing.show.model import Block, Cell, Fact, Flow, Note, Table, thousands

_PREFIX = "KVM_CAP_"


def blocks(data: Json) -> list[Block]:
    """What to show of the section's data."""
    caps = data["capabilities"]
    had = [one for one in caps if _value(one)]
    found: list[Block] = []
    missing = data["missing_common"]
    if missing:
        rows = tuple(
            (Cell(_short(one["name"]), "bad"), Cell(one["since"]), Cell(one["what"]))
            for one in missing
        )
        title = "MISSING here, though kernels of this age ordinarily have it"
        found.append(Table(title, ("capability", "since", "what for"), rows))
    if data["unknown"]:
        found += [Note(_unknown(one, data["abi_version"]), "warn") for one in data["unknown"]]
    told = tuple(_row(one) for one in had if _tells(one))
    found.append(Table("With a value", ("capability", ">value", "means"), told))
    plain = tuple(_short(one["name"]) for one in had if not _tells(one))
    found.append(Flow(f"Yes, {len(plain)}", plain, "good"))
    common = {one["name"] for one in missing}
    absent = [one for one in caps if not _value(one) and one["name"] not in common]
    here = tuple(_short(one["name"]) for one in absent if one["here"])
    found.append(Flow(f"No, {len(here)} more", here, "dim"))
    rest = sum(not one["here"] for one in absent)
    newest = f"asked below {data['asked_below']:,}, newest name known is {data['newest']}"
    found.append(Note(f"{rest} more belong to other architectures; {newest}"))
    return found


def _value(one: Json) -> int:
    return int(one["system"] or one["vm"] or 0)


def _short(name: str) -> str:
    return name.removeprefix(_PREFIX)


def _tells(one: Json) -> bool:
    differ = one["vm"] is not None and one["vm"] != one["system"]
    return differ or _value(one) != 1 or "bits" in one


def _row(one: Json) -> tuple[Cell, ...]:
    differ = one["vm"] is not None and one["vm"] != one["system"]
    value = _number(one, one["system"])
    meaning = _meaning(one, one)
    if differ:
        value = f"{value} / {_number(one, one['vm'])}"
        meaning = (
            f"system: {meaning or 'as it is'}; VM: {_meaning(one, one.get('vm_decoded', one))}"
        )
    return Cell(_short(one["name"])), Cell(value, "warn" if differ else ""), Cell(meaning)


def _number(one: Json, value: int) -> str:
    return f"{value:#x}" if "bits" in one else thousands(value)


def _meaning(one: Json, decoded: Json) -> str:
    if "bits" in decoded:
        rest = decoded["unnamed_bits"]
        names = [*decoded["bits"], *([f"{rest:#x} without a name"] if rest else [])]
        return _common_prefix_cut(names)
    return str(one.get("unit", ""))


def _common_prefix_cut(names: list[str]) -> str:
    """The names, of which all but the first leave out the words that they begin with together."""
    if len(names) < 2:
        return "".join(names)
    words = [name.split("_") for name in names if " " not in name]
    same = 0
    while words and all(len(one) > same + 1 and one[same] == words[0][same] for one in words):
        same += 1
    head = "_".join(words[0][:same]) if words else ""
    tails = [name.removeprefix(f"{head}_") if head else name for name in names]
    return f"{head}_: {', '.join(tails)}" if head else ", ".join(tails)


def _unknown(one: Json, version: str) -> str:
    value = one["system"] or one["vm"]
    return f"unknown capability {one['number']} = {value}: newer than this ABI ({version})"


def facts(data: Json) -> dict[str, Fact]:
    """What to compare, by number: an older report may not know the name yet."""
    found = {}
    for one in [*data["capabilities"], *data["unknown"]]:
        name = one.get("name", f"capability {one['number']}")
        for side in ("system", "vm"):
            if one[side] is not None and (one[side] or "name" in one):
                key = f"{one['number']} {side}"
                found[key] = _fact(one, f"{name} ({side})", one[side])
    return found


def _fact(one: Json, label: str, value: int) -> Fact:
    if "bits" in one:
        side = one.get("vm_decoded", one) if label.endswith("(vm)") else one
        return Fact("mask", label, value, tuple(side["bits"]))
    if one.get("name") == "KVM_CAP_NR_VCPUS" or one.get("unit", "").startswith("page"):
        return Fact("value", label, value)
    if "unit" in one:
        return Fact("limit", label, value)
    return Fact("offer", label, value)
