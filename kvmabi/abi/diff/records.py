"""Changes of structs and unions, and of what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmabi.abi.diff.changes import Change, Severity
from kvmabi.abi.diff.fields import FieldDiff
from kvmabi.abi.facts import Facts, RecordFact


def diff_records(old: Facts, new: Facts) -> Iterator[Change]:
    """The changes from one set of facts to another."""
    gone = {name: one for name, one in old.records.items() if name not in new.records}
    fresh = {name: one for name, one in new.records.items() if name not in old.records}
    renamed = dict(_renames(gone, fresh))
    for name, record in gone.items():
        if name in renamed:
            why = "built programs go on; source that has the old name does not compile"
            detail = f"now {renamed[name]}, laid out the same"
            yield Change(Severity.ATTENTION, "struct", name, "renamed", detail, why)
        else:
            why = "programs that use it do not compile"
            yield Change(Severity.BREAKING, "struct", name, "removed", _size(record), why)
    for name, record in fresh.items():
        if name not in renamed.values():
            why = "nothing had this name"
            yield Change(Severity.COMPATIBLE, "struct", name, "added", _size(record), why)
    for name in old.records.keys() & new.records.keys():
        yield from _both(name, old, new)


def _renames(
    gone: Mapping[str, RecordFact], fresh: Mapping[str, RecordFact]
) -> Iterator[tuple[str, str]]:
    left = dict(fresh)
    for name, record in gone.items():
        same = [other for other, one in left.items() if one == record and record.fields]
        if len(same) == 1:
            del left[same[0]]
            yield name, same[0]


def _size(record: RecordFact) -> str:
    return f"{record.size} bytes"


def _both(name: str, old: Facts, new: Facts) -> Iterator[Change]:
    before, after = old.records[name], new.records[name]
    if before.kind != after.kind:
        why = "its members are laid out anew"
        detail = f"{before.kind} -> {after.kind}"
        yield Change(Severity.BREAKING, "struct", name, "changed", detail, why)
    if before.size != after.size:
        severity, why = _judge_size(name, old, new)
        detail = f"{before.size} -> {after.size} bytes"
        yield Change(severity, "struct", name, "resized", detail, why)
    if before.alignment != after.alignment:
        why = "structs that hold it may be laid out anew"
        detail = f"alignment {before.alignment} -> {after.alignment}"
        yield Change(Severity.ATTENTION, "struct", name, "realigned", detail, why)
    yield from FieldDiff(name, before, after).changes()


def _judge_size(name: str, old: Facts, new: Facts) -> tuple[Severity, str]:
    before, after = old.records[name], new.records[name]
    argument = f"{before.kind} {name}"
    ioctls = sorted(n for n, ioctl in old.ioctls.items() if ioctl.argument == argument)
    if ioctls:
        more = f" and {len(ioctls) - 1} more" if len(ioctls) > 1 else ""
        return Severity.BREAKING, f"it changes the number of {ioctls[0]}{more}"
    if after.size < before.size:
        return Severity.BREAKING, "programs may use bytes that are no longer in it"
    holders = sorted(holder for holder, record in old.records.items() if _holds(record, argument))
    for holder in holders:
        if holder not in new.records or new.records[holder].size != old.records[holder].size:
            return Severity.BREAKING, f"{holder} holds it, and changes with it"
    if holders:
        why = f"{holders[0]} holds it and keeps its size: bytes that were reserved are in use"
        return Severity.ATTENTION, why
    return Severity.ATTENTION, "it grew: old and new programs must agree on the size they use"


def _holds(record: RecordFact, type_: str) -> bool:
    return any(field.shape.partition("[")[0] == type_ for field in record.fields.values())
