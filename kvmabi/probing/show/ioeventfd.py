"""What the kernel does with ioeventfds, shown."""

from __future__ import annotations

from kvmabi.probing.report import Json
from kvmabi.probing.show.model import Block, Cell, Fact, Note, Pairs, Style, Table, thousands


def blocks(data: Json) -> list[Block]:
    """What to show of the section's data."""
    surprises = [one for one in data["clashes"] if one["errno"] != one["documented"]]
    note = data["mask"].get("note")
    found: list[Block] = [
        *([Note(note, "warn")] if note else []),
        Pairs(
            (
                ("valid flags", _mask(data)),
                ("any-length", _any_length(data)),
                ("PV_MMIO", _pv_mmio(data["pv_mmio"])),
                ("fast MMIO path", _fast_path(data["costs"])),
                ("capacity", _capacity(data["capacity"])),
                ("assign", _spread(data["registration"]["assign"])),
                ("deassign", _spread(data["registration"]["deassign"])),
                ("assign + deassign", _spread(data["registration"]["pair"])),
                ("clashes and misses", _clashes(data["clashes"], surprises)),
            )
        ),
        Table("Flag bits", ("bit", "name", "in the mask", "assign"), _flags(data["flags"])),
        Table("Lengths", ("bus", *map(_length, _lens(data))), _length_rows(data)),
    ]
    if data["costs"]["rows"]:
        columns = ("a guest's 4-byte write", ">µs", ">cycles", "signals", "exits")
        rows = tuple(_cost(one) for one in data["costs"]["rows"])
        found.append(Table("Costs, median", columns, rows))
    if data["costs"]["reason"]:
        found.append(Note(f"costs: {data['costs']['reason']}", "warn"))
    listed = tuple(_clash(one) for one in data["clashes"])
    found.append(Table("Clashes and misses", ("call", "gives"), listed))
    return found


def _mask(data: Json) -> Cell:
    mask = data["mask"]["value"]
    odd = [one["bit"] for one in data["flags"] if one["in_mask"] != one["accepted"]]
    text = f"{mask:#x} (from {data['mask']['source']})"
    if not odd:
        return Cell(f"{text}; assign accepts exactly these", "good")
    return Cell(f"{text}; assign disagrees on bits {', '.join(map(str, odd))}", "bad")


def _any_length(data: Json) -> Cell:
    accepted = [one["bus"] for one in data["lens"] if one["len"] == 0 and one["accepted"]]
    if not accepted:
        return Cell("refused on every bus", "bad")
    return Cell(f"accepted on {', '.join(accepted)}", "good")


def _pv_mmio(pv_mmio: Json) -> Cell:
    if pv_mmio["in_kernel"]:
        answer = "accepted" if pv_mmio["accepted"] else f"refused ({pv_mmio['errno']})"
        return Cell(f"in this kernel (flag {pv_mmio['flag']:#x}); {answer}")
    answer = pv_mmio["errno"] or "accepted nevertheless"
    return Cell(f"not in this kernel; its bit {pv_mmio['flag']:#x} gives {answer}", "dim")


def _fast_path(costs: Json) -> Cell:
    verdict, ratio = costs["fast_path"]["verdict"], costs["fast_path"]["ratio"]
    if verdict == "unknown":
        return Cell("not known: it was not measured", "warn")
    text = f"an any-length MMIO signal costs {ratio:.2f} of a len-4 one"
    if verdict == "yes":
        return Cell(f"taken: {text}", "good")
    return Cell(f"not seen: {text}", "dim")


def _capacity(capacity: Json) -> Cell:
    count = thousands(capacity["accepted"])
    took = f"in {capacity['seconds'] * 1000:,.0f} ms"
    match capacity["stopped"]:
        case "bound":
            return Cell(f"{count} of {count} tried fit into one VM, {took}", "good")
        case "refused":
            return Cell(f"{count} fit into one VM, then {capacity['errno']}", "warn")
    text = f"at least {count} {took}; time was up, the limit was not reached (--thorough goes on)"
    return Cell(text, "warn")


def _spread(spread: Json) -> Cell:
    middle, most = spread["median_us"], spread["max_us"]
    return Cell(f"{middle:,.1f} µs (at most {most:,.0f} µs, {spread['samples']} samples)")


def _clashes(clashes: list[Json], surprises: list[Json]) -> Cell:
    if not surprises:
        return Cell(f"all {len(clashes)} as documented", "good")
    text = "; ".join(
        f"{one['what']}: {one['errno'] or 'accepted'}, not {one['documented'] or 'accepted'}"
        for one in surprises
    )
    return Cell(text, "bad")


def _clash(one: Json) -> tuple[Cell, ...]:
    style: Style = "" if one["errno"] == one["documented"] else "bad"
    return Cell(one["what"]), Cell(one["errno"] or "accepted", style)


def _flags(flags: list[Json]) -> tuple[tuple[Cell, ...], ...]:
    """The bits in the mask, those accepted, and the first one beyond; the rest in one row."""
    shown = [one for one in flags if one["in_mask"] or one["accepted"]]
    rest = [one for one in flags if not one["in_mask"] and not one["accepted"]]
    rows = [
        (
            Cell(str(one["bit"])),
            Cell(one["name"] or f"{one['enumerator'] or '?'} (no macro)"),
            Cell("yes" if one["in_mask"] else "no", "" if one["in_mask"] else "warn"),
            _accepted(one),
        )
        for one in shown
    ]
    if rest:
        bits = f"{rest[0]['bit']}-{rest[-1]['bit']}"
        errnos = ", ".join(sorted({one["errno"] for one in rest}))
        rows.append((Cell(bits, "dim"), Cell("", "dim"), Cell("no", "dim"), Cell(errnos, "dim")))
    return tuple(rows)


def _accepted(one: Json) -> Cell:
    if one["accepted"]:
        return Cell("accepted", "good" if one["in_mask"] else "bad")
    return Cell(one["errno"], "bad" if one["in_mask"] else "")


def _lens(data: Json) -> list[int]:
    return list(dict.fromkeys(one["len"] for one in data["lens"]))


def _length(length: int) -> str:
    return "any (0)" if length == 0 else str(length)


def _length_rows(data: Json) -> tuple[tuple[Cell, ...], ...]:
    rows: dict[str, list[Cell]] = {}
    for one in data["lens"]:
        cells = rows.setdefault(one["bus"], [Cell(one["bus"])])
        as_documented = one["accepted"] == one["documented"]
        style: Style = "good" if one["accepted"] else "dim"
        cells.append(Cell(one["errno"] or "yes", style if as_documented else "bad"))
    return tuple(tuple(cells) for cells in rows.values())


def _cost(one: Json) -> tuple[Cell, ...]:
    if one["errno"]:
        return Cell(one["name"]), Cell(one["errno"], "bad"), Cell(""), Cell(""), Cell("")
    promised = (one["signals"], one["exits"])
    expected = (0, one["writes"]) if one["len"] is None else (one["writes"], 0)
    style: Style = "" if promised == expected else "bad"
    microseconds = "" if one["median_us"] is None else f"{one['median_us']:,.2f}"
    return (
        Cell(one["name"]),
        Cell(microseconds),
        Cell(thousands(one["median_cycles"])),
        Cell(f"{one['signals']}/{one['writes']}", style),
        Cell(f"{one['exits']}/{one['writes']}", style),
    )


def facts(data: Json) -> dict[str, Fact]:
    """What to compare: what was accepted, and how much; costs are no facts."""
    found: dict[str, Fact] = {}
    for one in data["flags"]:
        name = one["name"] or one["enumerator"] or f"bit {one['bit']}"
        found[f"flag {one['bit']}"] = Fact("offer", f"ioeventfd flag {name}", int(one["accepted"]))
    for one in data["lens"]:
        key = f"{one['bus']} len {one['len']}"
        found[key] = Fact("offer", f"ioeventfd {key}", int(one["accepted"]))
    for one in data["clashes"]:
        found[one["what"]] = Fact("value", one["what"], one["errno"] or "accepted")
    fast = data["costs"]["fast_path"]["verdict"]
    if fast != "unknown":
        found["fast path"] = Fact("offer", "fast MMIO path (by its costs)", int(fast == "yes"))
    if data["capacity"]["stopped"] != "time":
        label = "ioeventfds in one VM (tried up to the bound)"
        found["capacity"] = Fact("limit", label, data["capacity"]["accepted"])
    return found
