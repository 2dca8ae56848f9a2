"""A comparison of two results, as lines for a person."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from kvmabi.results.comparison.model import Comparison, Kind, Pair
from kvmabi.results.comparison.terms import flaws
from kvmabi.results.record import Disagreement, Verdict
from kvmabi.results.summary import STYLES, hex_or_text, shortened, substrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

    from kvmabi.results.record import CaseRecord, RunRecord
    from kvmabi.results.store import Result

TITLES: Final[Mapping[Kind, str]] = {
    Kind.REGRESSED: "REGRESSED: old kept the promise, new breaks it",
    Kind.FAILING: "FAILING: new breaks a promise, and old has no verdict to set against it",
    Kind.LOST: "LOST: new could not tell",
    Kind.DIFFERENT: "The same verdict, for another reason",
    Kind.CHANGED: "Changed",
    Kind.FIXED: "Fixed",
    Kind.NEW: "Only in new",
    Kind.GONE: "Only in old",
}
_STYLES: Final[Mapping[Kind, str]] = {
    Kind.REGRESSED: "bold red",
    Kind.FAILING: "bold red",
    Kind.LOST: "bold red",
    Kind.FIXED: "green",
}
DETAILED: Final = (Kind.REGRESSED, Kind.FAILING, Kind.LOST, Kind.DIFFERENT)
"""The kinds whose cases are shown one by one."""
DETAILED_CASES: Final = 20
DETAILED_DISAGREEMENTS: Final = 4
LISTED_CASES: Final = 6


def lines(found: Comparison, promises: Mapping[int, str]) -> Iterator[RenderableType]:
    """Yield what to print: both runs, terms, each kind of case, and the counts last.

    `promises` gives each promise's text by its number.
    """
    yield from head(found)
    yield Text()
    for kind, title in TITLES.items():
        pairs = found.of(kind)
        if not pairs:
            continue
        yield Text(f"{title} ({len(pairs):,})", _STYLES.get(kind, "bold"))
        if kind in DETAILED:
            yield from _detailed(pairs, promises, found.new.run)
        else:
            yield from listed(pairs)
        yield Text()
    yield closing_line(found)


def closing_line(found: Comparison) -> Text:
    """The comparison in one line of counts."""
    counts = found.counts
    line = Text(f"{found.new.run.verb}: ", style="bold")
    if found.withdrawn:
        line.append(f"{len(found.withdrawn)} withdrawn, ", style="bold red")
    for place, kind in enumerate(_counted(counts)):
        style = _STYLES.get(kind, "not bold") if counts[kind] else "not bold"
        line.append(", " if place else "", style="not bold")
        line.append(f"{counts[kind]:,} {kind}", style=style)
    compared = f"; {counts[Kind.SAME]:,} the same of {found.compared:,} compared"
    line.append(compared, style="not bold")
    return line


def _counted(counts: Counter[Kind]) -> list[Kind]:
    always = (Kind.REGRESSED, Kind.FIXED)
    return [kind for kind in TITLES if counts[kind] or kind in always]


def head(found: Comparison) -> Iterator[Text]:
    """Yield what ran on either side, what is incomplete there or gone, and terms that differ."""
    for name, result in (("old", found.old), ("new", found.new)):
        yield Text.assemble((f"{name}  ", "bold"), f"{substrate(result.run)} ({_verdicts(result)})")
        for flaw in flaws(result):
            yield Text.assemble((f"{name} is incomplete: ", "bold red"), flaw)
    yield from (Text.assemble(("WITHDRAWN: ", "bold red"), offer) for offer in found.withdrawn)
    yield from (Text.assemble(("note: ", "yellow"), note) for note in found.notes)
    if not found.compared:
        yield Text("no case is in both, so nothing was compared", "bold red")


def _verdicts(result: Result) -> str:
    counts = Counter(case.verdict for case in result.cases)
    return ", ".join(f"{counts[one]:,} {one}" for one in Verdict if counts[one]) or "no case"


def _detailed(
    pairs: list[Pair], promises: Mapping[int, str], run: RunRecord
) -> Iterator[RenderableType]:
    for pair in pairs[:DETAILED_CASES]:
        if pair.new is None:
            continue
        style = STYLES[pair.new.verdict]
        yield Text.assemble((f"{pair.transition}  ", style), (pair.id, "bold"))
        yield _details(pair.old, pair.new, promises)
        yield Text(f"  {repro_command(run)} {pair.id}")
    if len(pairs) > DETAILED_CASES:
        yield Text(f"and {len(pairs) - DETAILED_CASES:,} more (--json FILE has them all)")


def _details(old: CaseRecord | None, new: CaseRecord, promises: Mapping[int, str]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for one in new.disagreements[:DETAILED_DISAGREEMENTS]:
        grid.add_row(f"  promise {one.promise}", Text(promises.get(one.promise, "")))
        grid.add_row("    step", Text(shortened(one.step)))
        grid.add_row("    expected", Text(hex_or_text(one.expected)))
        grid.add_row("    old saw", Text(old_saw(old, one)))
        grid.add_row("    new saw", Text(hex_or_text(one.seen), style="red"))
    more = len(new.disagreements) - DETAILED_DISAGREEMENTS
    if more > 0:
        grid.add_row("", Text(f"and {more:,} more disagreements"))
    if not new.disagreements:
        grid.add_row("  old", Text(old.reason or old.verdict if old else "-"))
        grid.add_row("  new", Text(new.reason or new.verdict, style="red"))
    return grid


def old_saw(old: CaseRecord | None, now: Disagreement) -> str:
    """What the old run saw where the new one disagrees."""
    if old is None:
        return "(it has no such case)"
    for one in old.disagreements:
        if (one.step, one.promise) == (now.step, now.promise):
            return hex_or_text(one.seen)
    if old.verdict in (Verdict.SKIP, Verdict.ERROR):
        return f"({old.verdict}: {old.reason})"
    return "what was expected"


def repro_command(run: RunRecord) -> str:
    """The command that takes a case's id and runs it again as it ran here."""
    lab = run.host.get("lab")
    told = lab.get("repro") if isinstance(lab, dict) else None
    return str(told) if told else f"kvmabi {run.verb} --repro"


def listed(pairs: list[Pair]) -> Iterator[Text]:
    """Yield one line for each way in which verdicts changed, and for each reason behind it."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for pair in pairs:
        one = pair.new or pair.old
        groups[pair.transition, one.reason if one else ""].append(pair.id)
    for (transition, reason), ids in groups.items():
        shown = ", ".join(ids[:LISTED_CASES])
        more = f", and {len(ids) - LISTED_CASES:,} more" if len(ids) > LISTED_CASES else ""
        why = f" ({reason})" if reason else ""
        yield Text(f"  {transition}{why}: {shown}{more}")
