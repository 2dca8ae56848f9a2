"""A bench as text: the series' own form, and a table with bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kvmabi.benching.rows import NOISY, OVERHEAD, SERIES_2013, Row, in_order
from kvmabi.benching.run import Bench
from kvmabi.benching.turns import C_LOOP, OURS, QEMU

BAR_WIDTH: Final = 12
BAR: Final = "█"
PARTS: Final = " ▏▎▍▌▋▊▉"


def plain(bench: Bench) -> str:
    """The table in the series' own form: a name and its cycles a line."""
    lines = []
    for name in in_order([bench.sides[OURS]]):
        row = bench.sides[OURS].get(name)
        if row is None or name == OVERHEAD:
            continue
        void = " (void)" if row.void else ""
        lines.append(f"{name} (skipped)" if row.skipped else f"{name} {row.cycles():.0f}{void}")
    return "".join(f"{line}\n" for line in lines)


def where(bench: Bench) -> list[str]:
    """Where it ran and how it was measured, and every reason to doubt the figures."""
    host, plan, ours = bench.host, bench.plan, bench.sides[OURS]
    overhead = ours[OVERHEAD].overhead if OVERHEAD in ours else 0
    load, after = bench.load
    lines = [
        f"Linux {host.kernel_release}, {host.back_end}, {host.cpu_model}, {host.cpus} CPUs",
        f"TSC {bench.tsc_khz / 1e6:.3f} GHz (KVM_GET_TSC_KHZ); load {load:.1f}, {after:.1f} after",
        f"medians of {plan.samples} operations, timed one by one",
        f"the quietest of {plan.rounds} rounds; spread says how far the rounds lie apart",
        f"{plan.warmup} more to warm up; {overhead} cycles of measuring taken off",
    ]
    lines += [f"{row.name} skipped: {row.skipped}" for row in ours.values() if row.skipped]
    ways = sorted({row.how for row in ours.values() if row.how})
    lines += [f"pv-eventfd rows are registered as {way}" for way in ways]
    if bench.interpreter:
        lines.append(f"exits served by {bench.interpreter}")
    if bench.qemu_version:
        lines.append(f"beside {bench.qemu_version}, in turn")
    if bench.emulated:
        lines.append(
            f"WARNING: this kernel runs in an emulator ({bench.emulated}): these are no figures "
            "of hardware; the counts are exact all the same"
        )
    noisy = [row.name for row in ours.values() if row.rounds and row.noisy]
    if noisy:
        lines.append(
            f"NOISY: in {len(noisy)} of {len(ours)} rows no other round comes within {NOISY:.0%} "
            f"of the quietest: {', '.join(noisy[:4])}{', …' if len(noisy) > 4 else ''}"
        )
    if bench.load[0] > host.cpus:
        lines.append(f"NOISY: the load was above the {host.cpus} CPUs there are")
    return lines


def print_report(console: Console, bench: Bench) -> None:
    """Print the table, and where it ran."""
    console.print(_table(bench))
    for line in where(bench):
        loud = line.startswith(("WARNING", "NOISY"))
        console.print(Text(line, style="yellow" if loud else "dim"), soft_wrap=True)


def _table(bench: Bench) -> Table:
    rows = bench.sides[OURS]
    columns = _columns(bench)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("row", no_wrap=True)
    for head in (*columns, "2013"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=BAR_WIDTH)
    most = max(row.cycles() for row in rows.values() if row.rounds)
    for row in (rows[name] for name in in_order([rows]) if name != OVERHEAD):
        figures = [figure(row) if row.rounds else "" for figure in columns.values()]
        series = SERIES_2013.get(row.name)
        table.add_row(_title(row), *figures, f"{series:,}" if series else "", _last(row, most))
    return table


def _columns(bench: Bench) -> dict[str, Callable[[Row], str]]:
    """The figures of a row that was measured, by the heads of their columns."""
    columns: dict[str, Callable[[Row], str]] = {
        "cycles": lambda row: f"{row.cycles():,.0f}",
        "ns": lambda row: f"{bench.ns(row.cycles()):,.0f}",
        "p99": lambda row: f"{row.cycles('p99'):,.0f}",
        "spread": lambda row: f"{row.spread:.1%}" if len(row.rounds) > 1 else "",
    }
    if bench.emulated:  # the one thing there that is exact
        columns["exits"] = lambda row: _number(row.quietest.exits)
        columns["signals"] = lambda row: _number(row.quietest.signals)
    if QEMU in bench.sides:
        columns[QEMU] = lambda row: _of_side(bench, QEMU, row)
        columns["ratio"] = lambda row: _number(bench.ratio(row.name), ".3f")
    if C_LOOP in bench.sides:
        columns[C_LOOP] = lambda row: _of_side(bench, C_LOOP, row)
    return columns


def _number(value: float | None, form: str = ",") -> str:
    return "" if value is None else format(value, form)


def _of_side(bench: Bench, side: str, row: Row) -> str:
    found = bench.sides[side].get(row.name)
    return f"{found.cycles():,.0f}" if found and found.rounds else ""


def _title(row: Row) -> str:
    return f"{row.name} ({row.how})" if row.how else row.name


def _last(row: Row, most: float) -> Text:
    if row.skipped:
        return Text("skipped", "dim")
    return Text("VOID", "bold red") if row.void else Text(bar(row.cycles() / most), "cyan")


def bar(share: float) -> str:
    """A bar of this share of BAR_WIDTH, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * BAR_WIDTH * 8)
    return (BAR * (eighths // 8) + PARTS[eighths % 8]).rstrip()
