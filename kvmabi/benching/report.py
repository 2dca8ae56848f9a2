"""A bench as text: the series' own form, and a table with bars."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kvmabi.benching.rows import NOISY, OVERHEAD, SERIES_2013, Row, in_order
from kvmabi.benching.run import C_LOOP, OURS, QEMU, Bench

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
    overhead = min(ours[OVERHEAD].overheads) if OVERHEAD in ours else 0
    load, after = bench.load
    lines = [
        f"Linux {host.kernel_release}, {host.back_end}, {host.cpu_model}, {host.cpus} CPUs",
        f"TSC {bench.tsc_khz / 1e6:.3f} GHz (KVM_GET_TSC_KHZ); load {load:.1f}, {after:.1f} after",
        f"medians of {plan.samples} operations, timed one by one",
        f"the quietest of {plan.rounds} rounds; spread says how far the rounds lie apart",
        f"{plan.warmup} more to warm up; {overhead} cycles of measuring taken off",
    ]
    lines += [f"{row.name} skipped: {row.skipped}" for row in ours.values() if row.skipped]
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
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("row", no_wrap=True)
    for head in ("cycles", "ns", "p99", "spread"):
        table.add_column(head, justify="right", no_wrap=True)
    for side in (QEMU, C_LOOP):
        if side in bench.sides:
            table.add_column(side, justify="right", no_wrap=True)
            if side == QEMU:
                table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("2013", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=BAR_WIDTH)
    rows = bench.sides[OURS]
    most = max(row.cycles() for row in rows.values() if row.rounds)
    for name in in_order([rows]):
        if name != OVERHEAD:
            table.add_row(*_cells(bench, rows[name], most))
    return table


def _cells(bench: Bench, row: Row, most: float) -> list[str | Text]:
    others: list[str | Text] = []
    for side in (QEMU, C_LOOP):
        if side in bench.sides:
            found = bench.sides[side].get(row.name)
            others.append(f"{found.cycles():,.0f}" if found and found.rounds else "")
            if side == QEMU:
                ratio = bench.ratio(row.name) if row.rounds else None
                others.append("" if ratio is None else f"{ratio:.3f}")
    series = SERIES_2013.get(row.name)
    then = f"{series:,}" if series else ""
    if row.skipped:
        return [row.name, "", "", "", "", *others, then, Text("skipped", "dim")]
    name = f"{row.name} ({row.how})" if row.how else row.name
    cycles = row.cycles()
    last = Text("VOID", "bold red") if row.void else Text(bar(cycles / most), "cyan")
    figures = [f"{cycles:,.0f}", f"{bench.ns(cycles):,.0f}", f"{row.cycles('p99'):,.0f}"]
    return [name, *figures, f"{row.spread:.1%}" if len(row.rounds) > 1 else "", *others, then, last]


def bar(share: float) -> str:
    """A bar of this share of BAR_WIDTH, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * BAR_WIDTH * 8)
    return (BAR * (eighths // 8) + PARTS[eighths % 8]).rstrip()
