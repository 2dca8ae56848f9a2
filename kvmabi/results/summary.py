"""What a run's records say, as tables and lines for a person.

Everything here is derived from a `Tally` and a `RunRecord`; nothing is printed. The renderables are
rich's, since they are laid out to the width of the terminal that shows them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from kvmabi.ioeventfd.offer import CAPABILITIES
from kvmabi.results.record import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rich.console import RenderableType

    from kvmabi.results.record import CaseRecord, Json, RunRecord
    from kvmabi.results.tally import Tally

STYLES: Final[Mapping[Verdict, str]] = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.KNOWN: "magenta",
    Verdict.SKIP: "yellow",
    Verdict.ERROR: "bold red",
}

_BADNESS: Final = (Verdict.FAIL, Verdict.ERROR, Verdict.KNOWN, Verdict.SKIP, Verdict.PASS)
_REASONS_SHOWN: Final = 3
_DISAGREEMENTS_SHOWN: Final = 4
_STEP_SHOWN: Final = 300


def hex_or_text(value: Json) -> str:
    """A value as an expert reads it: counts up to 4,095 in decimal, wider numbers in hex too."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 0xFFF:
        return f"{value:#x}"
    if isinstance(value, list):
        return "[" + ", ".join(hex_or_text(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {hex_or_text(one)}" for key, one in value.items()) + "}"
    return "nothing" if value is None else str(value)


def shortened(step: str) -> str:
    """A step's text; the middle of one with hundreds of writes says no more than its ends."""
    if len(step) <= _STEP_SHOWN:
        return step
    half = _STEP_SHOWN // 2
    left_out = len(step) - 2 * half
    return f"{step[:half]} [... {left_out:,} characters ...] {step[-half:]}"


def verdict_counts(counts: Mapping[Verdict, int]) -> Text:
    """The counts as "12,340 pass  0 fail  5 skip"; zero pass and zero fail are shown too."""
    parts = [
        Text(f"{counts.get(v, 0):,} {v}", style=STYLES[v] if counts.get(v, 0) else "dim")
        for v in _shown(counts)
    ]
    return Text("  ").join(parts)


def bus_by_len_table(tally: Tally) -> Table:
    """The cases by bus (rows) and registered len (columns): "263" all pass, "257/263" not all."""
    groups = _group(tally, lambda bus, length, _phase: (bus, length))
    columns = sorted({key[1] for key in groups}, key=_len_order)
    table = _table("bus")
    for name in [*columns, "all"]:
        title = f"len {name}" if name.isdigit() else name
        table.add_column(title, justify="right", no_wrap=True)
    for bus in sorted({key[0] for key in groups}):
        row = [groups[bus, name] for name in columns]
        table.add_row(bus, *map(_cell, [*row, _total(row)]))
    return table


def phase_table(tally: Tally) -> Table:
    """The cases by phase (rows) and verdict (columns)."""
    groups = _group(tally, lambda _bus, _length, phase: (phase, ""))
    shown = _shown(tally.verdicts)
    table = _table("phase")
    for name in ["cases", *shown]:
        table.add_column(name, justify="right")
    for (phase, _), counts in sorted(groups.items()):
        table.add_row(phase, f"{counts.total():,}", *(_count(counts, one) for one in shown))
    return table


def finding_lines(
    case: CaseRecord, promises: Mapping[int, str], repro: str
) -> Iterator[RenderableType]:
    """What is wrong with a failed or unjudged case: id, disagreements, and how to run it again.

    `promises` gives each promise's text by its number; `repro` is the command that takes an id
    ("kvmabi matrix --repro").
    """
    yield Text.assemble((f"{case.verdict} ", STYLES[case.verdict]), (case.id, "bold"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    if case.reason:
        grid.add_row("  reason", Text(case.reason))
    for one in case.disagreements[:_DISAGREEMENTS_SHOWN]:
        text = promises.get(one.promise, "")
        grid.add_row(f"  promise {one.promise}", Text(text))
        grid.add_row("    step", Text(shortened(one.step)))
        grid.add_row("    expected", Text(hex_or_text(one.expected)))
        grid.add_row("    seen", Text(hex_or_text(one.seen), style="red"))
    more = len(case.disagreements) - _DISAGREEMENTS_SHOWN
    if more > 0:
        grid.add_row("", Text(f"and {more:,} more disagreements"))
    yield grid
    yield Text(f"  {repro} {case.id}")


def findings_in_order(tally: Tally) -> list[CaseRecord]:
    """The failed cases, then the ones that the harness could not judge, each ordered by id."""
    return sorted(tally.findings, key=lambda case: (case.verdict is Verdict.ERROR, case.id))


def closing_line(
    run: RunRecord, tally: Tally, seconds: float, *, interrupted: bool = False
) -> Text:
    """The run in one line: counts, reasons, seconds, and what it ran on."""
    number = f"{tally.executed:,}"
    if tally.executed != tally.planned:
        number += f" of {tally.planned:,}"
    line = Text(f"{run.verb}: ", style="bold")
    line.append(f"{number} cases: ", style="not bold")
    for place, verdict in enumerate(_shown(tally.verdicts, Verdict.SKIP)):
        count = tally.verdicts[verdict]
        line.append(", " if place else "", style="not bold")
        line.append(f"{count:,} {verdict}", style=STYLES[verdict] if count else "not bold")
        line.append(_reasons(tally, verdict), style="not bold")
    state = " (interrupted)" if interrupted else ""
    line.append(f" in {seconds:.1f} s{state}: {substrate(run)}", style="not bold")
    return line


def substrate(run: RunRecord) -> str:
    """What ran, as "Linux 6.18.0, kvm_pvm, ABI 7.2, valid mask 0x1f from BTF"; what lacks too."""
    host, abi = run.host, run.abi
    mask = abi.get("mask")
    parts = [
        f"Linux {host.get('kernel_release', '?')}",
        str(host.get("back_end") or "unknown back end"),
        f"ABI {abi.get('version', '?')}",
        f"valid mask {mask:#x} from {abi.get('mask_source', '?')}" if isinstance(mask, int) else "",
    ]
    parts += [f"no {name}" for key, name in CAPABILITIES.items() if abi.get(key) is False]
    lab = host.get("lab")
    if isinstance(lab, dict):
        parts.append(f"in the lab: {lab.get('backend')} by {lab.get('emulator')}")
    return ", ".join(part for part in parts if part)


def _shown(counts: Mapping[Verdict, int], *always: Verdict) -> list[Verdict]:
    kept = {Verdict.PASS, Verdict.FAIL, *always}
    return [verdict for verdict in Verdict if counts.get(verdict) or verdict in kept]


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column(first, style="cyan")
    return table


def _group(
    tally: Tally, key: Callable[[str, str, str], tuple[str, str]]
) -> defaultdict[tuple[str, str], Counter[Verdict]]:
    groups: defaultdict[tuple[str, str], Counter[Verdict]] = defaultdict(Counter)
    for (bus, length, phase, verdict), count in tally.cells.items():
        groups[key(bus, length, phase)][verdict] += count
    return groups


def _len_order(length: str) -> tuple[bool, int, str]:
    """Lengths by size, and behind them the words for several or bad ones."""
    return not length.isdigit(), int(length) if length.isdigit() else 0, length


def _total(counts: Iterable[Counter[Verdict]]) -> Counter[Verdict]:
    return sum(counts, Counter[Verdict]())


def _cell(counts: Counter[Verdict]) -> Text:
    number, passed = counts.total(), counts[Verdict.PASS]
    if not number:
        return Text("-", style="dim")
    worst = min((verdict for verdict in counts if counts[verdict]), key=_BADNESS.index)
    return Text(f"{number:,}" if passed == number else f"{passed:,}/{number:,}", STYLES[worst])


def _count(counts: Counter[Verdict], verdict: Verdict) -> Text:
    number = counts[verdict]
    return Text(f"{number:,}", STYLES[verdict]) if number else Text("-", style="dim")


def _reasons(tally: Tally, verdict: Verdict) -> str:
    reasons = tally.reasons.get(verdict, Counter[str]()).most_common()
    if not reasons:
        return ""
    named = [f"{reason}: {count:,}" for reason, count in reasons[:_REASONS_SHOWN]]
    rest = len(reasons) - len(named)
    return f" ({'; '.join([*named, f'{rest} more reasons'] if rest else named)})"
