"""Changes of the fields of one record."""

from __future__ import annotations

from collections.abc import Iterator

from kvmabi.abi.diff.changes import Change, Severity
from kvmabi.abi.diff.names import is_padding
from kvmabi.abi.facts import FieldFact, RecordFact


class FieldDiff:
    """What changes between two layouts of the record `name`."""

    def __init__(self, name: str, old: RecordFact, new: RecordFact) -> None:
        self.name = name
        self.old = old
        self.new = new
        self.gone = _outermost(path for path in old.fields if path not in new.fields)
        self.fresh = _outermost(path for path in new.fields if path not in old.fields)
        self.renamed = dict(self._renames())

    def changes(self) -> Iterator[Change]:
        """All changes, field by field."""
        for path in self.gone:
            yield from self._removed(path)
        for path in self.fresh:
            if path not in self.renamed.values() and not is_padding(path):
                yield self._added(path)
        yield from self._moved()
        for path, after in self.new.fields.items():
            before = self.old.fields.get(path)
            if before is not None and not is_padding(path):
                yield from self._retyped(path, before, after)

    def _change(self, severity: Severity, path: str, what: str, detail: str, why: str) -> Change:
        return Change(severity, "field", f"{self.name}.{path}", what, detail, why)

    def _renames(self) -> Iterator[tuple[str, str]]:
        left = list(self.fresh)
        for path in self.gone:
            fact = self.old.fields[path]
            same = [one for one in left if self.new.fields[one] == fact]
            same = [one for one in same if is_padding(one) == is_padding(path)]
            if len(same) == 1:
                left.remove(same[0])
                yield path, same[0]

    def _removed(self, path: str) -> Iterator[Change]:
        if is_padding(path):
            return  # what takes its bytes says so
        fact = self.old.fields[path]
        if path in self.renamed:
            why = "built programs go on; source that has the old name does not compile"
            detail = f"now {self.renamed[path]}, {_place(fact)}"
            yield self._change(Severity.ATTENTION, path, "renamed", detail, why)
            return
        why = "programs that use it do not compile"
        detail = f"was {fact}, {_place(fact)}"
        yield self._change(Severity.BREAKING, path, "removed", detail, why)

    def _added(self, path: str) -> Change:
        fact = self.new.fields[path]
        detail = f"{fact}, {_place(fact)}"
        if fact.bit >= self.old.size * 8:
            return self._change(Severity.COMPATIBLE, path, "added", detail, "behind the old end")
        siblings = {
            other: f for other, f in self.old.fields.items()
            if _parent(other) == _parent(path) and _overlap(f, fact)
        }  # fmt: skip
        live = [other for other in siblings if not is_padding(other)]
        gone = [other for other in live if other in self.gone]
        if gone:
            why = f"the bytes were {gone[0]}'s, and mean something else now"
            return self._change(Severity.ATTENTION, path, "added", detail, why)
        if live:
            why = f"another member of a union, beside {live[0]}"
            return self._change(Severity.COMPATIBLE, path, "added", detail, why)
        if not fact.bits:
            why = "an array without a length of its own: no other field moves"
            return self._change(Severity.COMPATIBLE, path, "added", detail, why)
        what = f"{next(iter(siblings))}'s bytes put to use" if siblings else "a hole put to use"
        why = "programs that leave anything but 0 there now say something by it"
        return self._change(Severity.ATTENTION, path, what, detail, why)

    def _moved(self) -> Iterator[Change]:
        """Fields that moved, those that moved together as one change."""
        groups: list[tuple[int, list[str]]] = []
        for path, before in self.old.fields.items():
            after = self.new.fields.get(path)
            if after is None or before.bit == after.bit or is_padding(path):
                continue
            distance = after.bit - before.bit
            if groups and groups[-1][0] == distance:
                groups[-1][1].append(path)
            else:
                groups.append((distance, [path]))
        for distance, paths in groups:
            before, after = self.old.fields[paths[0]], self.new.fields[paths[0]]
            others = f", and {len(paths) - 1} more by {distance / 8:+g}" if paths[1:] else ""
            detail = f"{_place(before)} -> {_place(after)}{others}"
            why = "programs built with the old header read and write other bytes"
            yield self._change(Severity.BREAKING, paths[0], "moved", detail, why)

    def _retyped(self, path: str, before: FieldFact, after: FieldFact) -> Iterator[Change]:
        detail = f"{before} -> {after}"
        if before.bits != after.bits:
            if after.shape == before.shape and "struct" in after.shape:
                severity, why = Severity.ATTENTION, "its type changed; that says how"
            elif "<no tag>" in after.shape:
                severity, why = Severity.ATTENTION, "what is in it changed; its fields say how"
            elif not before.bits or not after.bits:
                severity, why = Severity.ATTENTION, "only the declared length of an array"
            else:
                severity, why = Severity.BREAKING, "old and new programs disagree about its end"
            yield self._change(severity, path, "resized", detail, why)
        elif before.shape != after.shape:
            why = "the same bytes, read another way"
            yield self._change(Severity.ATTENTION, path, "another type", detail, why)


def _outermost(paths: Iterator[str]) -> list[str]:
    """Paths in order, without those that are in one of the others."""
    found: dict[str, None] = {}
    for path in paths:
        if not any(parent in found for parent in _parents(path)):
            found[path] = None
    return list(found)


def _parents(path: str) -> Iterator[str]:
    while path := _parent(path):
        yield path


def _parent(path: str) -> str:
    return path.rpartition(".")[0].removesuffix("[]")


def _overlap(one: FieldFact, other: FieldFact) -> bool:
    if not one.bits or not other.bits:
        return False
    return one.bit < other.end and other.bit < one.end


def _place(fact: FieldFact) -> str:
    byte, bit = divmod(fact.bit, 8)
    return f"at {byte}" + (f" bit {bit}" if bit or fact.bits % 8 else "")
