"""Many faults, one after another: what ended is kept at once, and every kill is confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from kvmabi.lab.mutation import record
from kvmabi.lab.mutation.faults import Fault
from kvmabi.lab.mutation.record import Basis, Row
from kvmabi.lab.mutation.trial import GROUNDS, Ended, Ground, Site
from kvmabi.lab.mutation.verdict import Judgement, Outcome
from kvmabi.results import Verdict

Trials = list[tuple[Fault, Row]]


class Campaign:
    """Tries faults on one basis. `sites` gives the site of a ground; `say` gets a line for each.

    `path` is the record: what has ended in it stands, and what ends is added to it.
    """

    def __init__(
        self,
        sites: Callable[[Ground], Site],
        basis: Basis,
        path: Path,
        say: Callable[[str], None],
    ) -> None:
        self._make_site = sites
        self._basis = basis
        self._path = path
        self._say = say
        self._sites: dict[Ground, Site] = {}
        self._prepared: set[Ground] = set()

    def run(self, faults: Sequence[Fault], *, again: bool = False) -> Trials:
        """Return each fault with its row; with `again`, also those are tried that have ended.

        Raises LabUnavailable where another campaign is at a site that this one needs.
        """
        self._sites = {ground: self._make_site(ground) for ground in _grounds(faults)}
        places = {site.workspace: site for site in self._sites.values()}  # two may share one
        with ExitStack() as held:
            for site in places.values():
                held.enter_context(site.held())
            return self._run(faults, again=again)

    def _run(self, faults: Sequence[Fault], *, again: bool) -> Trials:
        before = [] if again else record.read(self._path)
        ended = []
        for number, fault in enumerate(faults, 1):
            row = record.known(before, fault, self._basis)
            if row is None:
                row = Row.of(fault, self._basis, self._try(fault))
                record.append(self._path, row)
            self._say(f"{number} of {len(faults)}: {_line(fault, row)}")
            ended.append((fault, row))
        return self._confirmed(ended)

    def _try(self, fault: Fault) -> Ended:
        ground = GROUNDS.get(fault.needs)
        if ground is None:
            return Ended(Judgement(Outcome.NOT_RUN, text=f"needs {fault.needs}"))
        return self._site(ground).try_fault(fault)

    def _site(self, ground: Ground) -> Site:
        site = self._sites[ground]
        if ground not in self._prepared:
            self._say(f"building {ground.kernel} without a fault")
            site.prepare()
            self._prepared.add(ground)
        return site

    def _confirmed(self, ended: Trials) -> Trials:
        """Return the same, but a kill counts only if its case passes without the fault.

        Where there is no case, all must that the fault names.
        """
        broken: dict[tuple[Ground, str], str] = {}
        for ground in GROUNDS.values():
            killers = sorted(_killers(ended, ground))
            if killers:
                self._say(f"playing {len(killers)} killing cases without a fault")
                found = _not_passed(self._site(ground), killers)
                broken |= {(ground, case): why for case, why in found.items()}
        return [(fault, self._checked(fault, row, broken)) for fault, row in ended]

    def _checked(self, fault: Fault, row: Row, broken: Mapping[tuple[Ground, str], str]) -> Row:
        ground = GROUNDS.get(fault.needs)
        if ground is None or row.outcome is not Outcome.KILLED:
            return row
        if row.case:
            return _refuted(row, row.case, broken.get((ground, row.case), ""))
        self._say(f"looking where {fault.name} was noticed, without a fault")
        judged = self._site(ground).look_unchanged(fault)
        survived = judged.outcome is Outcome.SURVIVED
        return _refuted(row, row.text, "" if survived else judged.text or str(judged.outcome))


def _refuted(row: Row, what: str, why: str) -> Row:
    """Return the row, which says nothing where there is a reason why not."""
    if not why:
        return row
    return replace(row, outcome=Outcome.INVALID, text=f"{what} without the fault: {why}")


def _grounds(faults: Iterable[Fault]) -> list[Ground]:
    needed = {fault.needs for fault in faults}
    return [ground for needs, ground in GROUNDS.items() if needs in needed]


def _killers(ended: Iterable[tuple[Fault, Row]], ground: Ground) -> set[str]:
    return {
        row.case
        for fault, row in ended
        if row.outcome is Outcome.KILLED and row.case and GROUNDS.get(fault.needs) == ground
    }


def _not_passed(site: Site, cases: Sequence[str]) -> dict[str, str]:
    """Return those of the cases that do not pass on the kernel without a fault, and why."""
    verdicts = site.play_unchanged(cases)
    return {
        case: str(verdicts.get(case, "not played"))
        for case in cases
        if verdicts.get(case) is not Verdict.PASS
    }


def _line(fault: Fault, row: Row) -> str:
    by = f" by {row.case or 'no case'}" if row.outcome is Outcome.KILLED else ""
    odd = "" if record.as_expected(fault, row.outcome) else " (!)"
    seconds = f"{row.build_s:.0f} + {row.run_s:.0f} s, {row.executed:,} cases"
    return f"{fault.name}: {row.outcome}{by}{odd} ({seconds}) {row.text}".rstrip()
