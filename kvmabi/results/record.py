"""The records of a result file, and their lines of JSON.

A result is a file of JSON lines, one record a line, written in this order::

    {"type": "run", "schema": 1, "kvmabi": ..., "verb": ..., "started": ..., "host": {...},
     "abi": {"version": ..., "mask": ..., "mask_source": ..., ...}, "options": {...}, "planned": N}
    {"type": "case", "id": ..., "verdict": ..., "seconds": ..., "bus": ..., "len": ..., ...}
    ...
    {"type": "end", "planned": N, "executed": N, "verdicts": {...}, "seconds": ...,
     "interrupted": false}

The case line of an ended case is in the file before the next case may be lost. A run that is
resumed appends to its own file, so that an ``end`` may stand in the middle: the last one counts.
A case that is found to have done harm once it has ended stands there again, as "revised": that
record counts. All other formats are derived from these records.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kvmabi.errors import ResultError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMA: Final = 1
"""The version of the record format; a reader refuses any other."""

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
"""What JSON can hold."""


class Verdict(enum.StrEnum):
    """What became of a case; in the order in which summaries show them."""

    PASS = "pass"  # noqa: S105 (no password)
    """The kernel did as promised."""
    FAIL = "fail"
    """A promise is broken; the record holds the disagreements."""
    KNOWN = "known"
    """A recorded divergence of this kernel; shown and counted, and no failure."""
    SKIP = "skip"
    """Not run; the reason names the missing capability."""
    ERROR = "error"
    """The harness could not tell; the reason says why."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that was not as promised: where in the case, which promise, expected, seen."""

    step: str
    promise: int
    expected: Json
    seen: Json


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What runs, where, and on what terms; the first line of a result.

    `host` is `kvmabi.kvm.host.Host` as a mapping. `abi` has "version", "mask" (the kernel's valid
    ioeventfd flags), "mask_source" (where that was read), "any_length" and "no_length" (whether it
    has these capabilities) and "pv_mmio" (that flag's bit, or 0). `started` is UTC in ISO 8601.
    `options` are the ones that choose or change cases: a run resumes only under the same.
    """

    verb: str
    kvmabi: str
    started: str
    host: Mapping[str, Json]
    abi: Mapping[str, Json]
    options: Mapping[str, Json]
    planned: int
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One ended case. `seconds` is wall time, waits included.

    `len` is the registration's length ("0", "4"), or a word where there is no one good length.
    A fail carries at least one disagreement; skip, known and error carry a reason.
    """

    id: str
    verdict: Verdict
    seconds: float
    bus: str
    len: str
    phase: str
    promises: tuple[int, ...] = ()
    reason: str = ""
    disagreements: tuple[Disagreement, ...] = ()
    revised: bool = False
    """Whether this takes the place of an earlier record of the same case."""


@dataclass(frozen=True, slots=True)
class EndRecord:
    """How the run ended; the last line. `executed` counts the cases that have a verdict."""

    planned: int
    executed: int
    verdicts: Mapping[str, int]
    seconds: float
    interrupted: bool = False
    problems: tuple[str, ...] = field(default=())
    """What was wrong with the run's own bookkeeping; empty in a sound run."""
    notes: Mapping[str, Json] = field(default_factory=dict)
    """What else is known of the whole run ("tainted": the taint bits of a kernel in the lab)."""


Record: TypeAlias = RunRecord | CaseRecord | EndRecord

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def to_line(record: Record) -> bytes:
    """The record as one line of JSON, in UTF-8, with its newline."""
    if isinstance(record, CaseRecord):
        return _case_line(record)
    fields = {name: getattr(record, name) for name in record.__slots__}
    if not fields.get("notes", True):
        del fields["notes"]
    kind = "run" if isinstance(record, RunRecord) else "end"
    return _line({"type": kind, **fields})


def _case_line(case: CaseRecord) -> bytes:
    """The hot one: thousands a second, so no introspection; empty fields are left out."""
    fields: dict[str, Any] = {
        "type": "case",
        "id": case.id,
        "verdict": case.verdict,
        "seconds": round(case.seconds, 6),
        "bus": case.bus,
        "len": case.len,
        "phase": case.phase,
        "promises": case.promises,
    }
    if case.reason:
        fields["reason"] = case.reason
    if case.disagreements:
        fields["disagreements"] = [
            {"step": one.step, "promise": one.promise, "expected": one.expected, "seen": one.seen}
            for one in case.disagreements
        ]
    if case.revised:
        fields["revised"] = True
    return _line(fields)


def _line(fields: Mapping[str, Any]) -> bytes:
    # A lone surrogate (an undecodable path, say) must not lose the record.
    return (_encode(fields) + "\n").encode("utf-8", "backslashreplace")


def from_line(line: bytes) -> Record:
    """The record that a line holds; raises ResultError for anything else.

    Fields that this version does not know are ignored, so that newer files of the same schema read.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ResultError("no JSON object")
    kind = str(fields.get("type"))
    make = _MAKERS.get(kind)
    if make is None:
        raise ResultError(f"unknown record type {kind!r}")
    try:
        return make(fields)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ResultError(f"bad {kind} record: {error!r}") from None


def _make_run(fields: dict[str, Any]) -> RunRecord:
    if fields["schema"] != SCHEMA:
        raise ResultError(f"schema {fields['schema']!r}; this kvmabi reads schema {SCHEMA}")
    return RunRecord(
        verb=str(fields["verb"]),
        kvmabi=str(fields["kvmabi"]),
        started=str(fields["started"]),
        host=dict(fields["host"]),
        abi=dict(fields["abi"]),
        options=dict(fields["options"]),
        planned=int(fields["planned"]),
    )


def _make_case(fields: dict[str, Any]) -> CaseRecord:
    return CaseRecord(
        id=str(fields["id"]),
        verdict=Verdict(fields["verdict"]),
        seconds=float(fields["seconds"]),
        bus=str(fields["bus"]),
        len=str(fields["len"]),
        phase=str(fields["phase"]),
        promises=tuple(int(number) for number in fields["promises"]),
        reason=str(fields.get("reason", "")),
        disagreements=tuple(
            Disagreement(str(one["step"]), int(one["promise"]), one["expected"], one["seen"])
            for one in fields.get("disagreements", ())
        ),
        revised=bool(fields.get("revised", False)),
    )


def _make_end(fields: dict[str, Any]) -> EndRecord:
    return EndRecord(
        planned=int(fields["planned"]),
        executed=int(fields["executed"]),
        verdicts={str(Verdict(name)): int(n) for name, n in fields["verdicts"].items()},
        seconds=float(fields["seconds"]),
        interrupted=bool(fields["interrupted"]),
        problems=tuple(str(one) for one in fields.get("problems", ())),
        notes=dict(fields.get("notes", {})),
    )


_MAKERS: Final[Mapping[str, Callable[[dict[str, Any]], Record]]] = {
    "run": _make_run,
    "case": _make_case,
    "end": _make_end,
}
