"""A comparison of two results as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kvmabi.results.comparison.model import Comparison, Kind, Pair
from kvmabi.results.comparison.terms import flaws

if TYPE_CHECKING:
    from kvmabi.results.record import CaseRecord
    from kvmabi.results.store import Result

SCHEMA: Final = 1


def to_json(found: Comparison) -> dict[str, Any]:
    """The comparison as an object; "cases" has all but those that are the same in both."""
    return {
        "type": "comparison",
        "schema": SCHEMA,
        "verb": found.new.run.verb,
        "old": _run(found.old),
        "new": _run(found.new),
        "notes": list(found.notes),
        "withdrawn": list(found.withdrawn),
        "compared": found.compared,
        "counts": {str(kind): found.counts[kind] for kind in Kind},
        "exit_code": int(found.exit_code),
        "cases": [_case(pair) for pair in found.pairs if pair.kind is not Kind.SAME],
    }


def _run(result: Result) -> dict[str, Any]:
    run = result.run
    return {
        "started": run.started,
        "kvmabi": run.kvmabi,
        "host": dict(run.host),
        "abi": dict(run.abi),
        "options": dict(run.options),
        "planned": run.planned,
        "executed": len(result.cases),
        "incomplete": list(flaws(result)),
    }


def _case(pair: Pair) -> dict[str, Any]:
    sides = {"old": pair.old, "new": pair.new}
    return {
        "id": pair.id,
        "kind": str(pair.kind),
        **{name: _side(case) for name, case in sides.items() if case is not None},
    }


def _side(case: CaseRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {"verdict": str(case.verdict)}
    if case.reason:
        fields["reason"] = case.reason
    if case.disagreements:
        fields["disagreements"] = [
            {"step": one.step, "promise": one.promise, "expected": one.expected, "seen": one.seen}
            for one in case.disagreements
        ]
    return fields
