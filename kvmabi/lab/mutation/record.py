"""The record of many trials: a JSON line each, so that what ended is not tried again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from kvmabi import ioeventfd
from kvmabi.errors import ExitCode, ResultError
from kvmabi.lab import cache
from kvmabi.lab.build import listing
from kvmabi.lab.build.changes import PatchChange
from kvmabi.lab.build.patch import tree_version
from kvmabi.lab.build.sources import Source
from kvmabi.lab.collector import CLEAN_LOG
from kvmabi.lab.mutation.faults import Fault
from kvmabi.lab.mutation.trial import GROUNDS, Ended
from kvmabi.lab.mutation.verdict import Judgement, Outcome

FINAL: Final = frozenset({Outcome.KILLED, Outcome.SURVIVED})
"""The outcomes that stand until the fault, the source or the cases are another."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What every verdict of a campaign rests on, beside the fault: it says nothing of another."""

    source: str
    """The tree's version, for people."""
    tree: str
    """What is in the tree, as a digest."""
    cases: str
    """What the cases are, and what they expect, as a digest."""

    @classmethod
    def of(cls, source: Source) -> Basis:
        """Return what it is for this source; all of a tree is read that its owner may change."""
        return cls(
            source=".".join(map(str, tree_version(source.tree))),
            tree=source.content or listing.content_of(listing.listing(source.tree, {})),
            cases=_digest_of(Path(ioeventfd.__path__[0])),
        )


def _digest_of(package: Path) -> str:
    paths = sorted(package.rglob("*.py"))
    names = "\n".join(str(path.relative_to(package)) for path in paths)
    return cache.digest(names, *(path.read_bytes() for path in paths))


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one fault on one basis."""

    name: str
    source: str
    tree: str
    cases: str
    fault: str
    """The fault's content, as a digest."""
    outcome: Outcome
    case: str
    promises: tuple[int, ...]
    text: str
    executed: int
    build_s: float
    run_s: float

    @classmethod
    def of(cls, fault: Fault, basis: Basis, ended: Ended) -> Row:
        """Return the row of a trial that ended."""
        judged = ended.judgement
        return cls(
            name=fault.name,
            **asdict(basis),
            fault=content(fault),
            outcome=judged.outcome,
            case=judged.case,
            promises=judged.promises,
            text=judged.text,
            executed=judged.executed,
            build_s=round(ended.build_s, 1),
            run_s=round(ended.run_s, 1),
        )

    @property
    def judgement(self) -> Judgement:
        """What the row says of the fault."""
        return Judgement(self.outcome, self.case, self.promises, self.text, self.executed)


def content(fault: Fault) -> str:
    """Return a digest of the change that a fault makes, and of where it is looked for."""
    ground = GROUNDS.get(fault.needs)
    changes = [*(ground.changes() if ground else []), PatchChange(fault.patch)]
    return cache.digest(fault.needs, *(one.content for one in changes), *fault.look)


def append(path: Path, row: Row) -> None:
    """Add a row to a record, as one write."""
    with path.open("a") as file:
        file.write(json.dumps({"type": "fault", **asdict(row)}) + "\n")


def read(path: Path) -> list[Row]:
    """Return the rows of a record, none for no file; ResultError for another kind of file."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"cannot read {path}: {error}") from error
    whole = text[: text.rfind("\n") + 1]  # a line that was cut off is tried again
    return list(_rows(path, whole.splitlines()))


def _rows(path: Path, lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            if fields.pop("type") != "fault":
                continue
            fields["outcome"] = Outcome(fields["outcome"])
            fields["promises"] = tuple(fields["promises"])
            yield Row(**fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ResultError(
                f"{path}:{number}: this is no record of faults, or one of another version of "
                f"kvmabi ({error}): name another file"
            ) from error


def known(rows: Iterable[Row], fault: Fault, basis: Basis) -> Row | None:
    """Return the last row that still says what becomes of a fault; None where it is to be tried."""
    found = None
    for row in rows:
        rests_on = Basis(row.source, row.tree, row.cases)
        if (row.name, row.fault, rests_on) == (fault.name, content(fault), basis):
            found = row if row.outcome in FINAL else None
    return found


def exit_code(ended: Iterable[tuple[Fault, Row]]) -> ExitCode:
    """Return 0 where, of those tried, each fault that can be seen was killed, and each control not.

    1 where one was not as it should be, 4 where one says nothing, 3 where none was tried.
    """
    outcomes = [(fault, row.outcome) for fault, row in ended if row.outcome is not Outcome.NOT_RUN]
    if any(outcome in (Outcome.INVALID, Outcome.NOT_BUILT) for _, outcome in outcomes):
        return ExitCode.HARNESS_FAILED
    if any(not as_expected(fault, outcome) for fault, outcome in outcomes):
        return ExitCode.BROKEN
    return ExitCode.KEPT if outcomes else ExitCode.NOTHING_CHECKED


def tells_another(fault: Fault, row: Row) -> bool:
    """Return whether the case that killed a fault saw promises broken, and not the fault's own.

    The log and the loss of a kernel name no promise.
    """
    seen = set(row.promises) - {CLEAN_LOG}
    return row.outcome is Outcome.KILLED and bool(seen) and fault.promise not in seen


def as_expected(fault: Fault, outcome: Outcome) -> bool:
    """Return whether this outcome of a fault is the one to hope for."""
    if fault.harmless:
        return outcome is Outcome.SURVIVED
    return outcome is Outcome.KILLED or (bool(fault.unseen) and outcome is Outcome.SURVIVED)
