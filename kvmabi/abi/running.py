"""An Abi compared with the running kernel's own types, as far as those and the headers overlap.

The kernel may be older or newer than the headers, and has types of its own; so what only one of
them has is left out, with that as the reason. What both have must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from kvmabi.abi import btf
from kvmabi.abi.btf_types import running_kernel
from kvmabi.abi.compare import Comparison, element_of, shape
from kvmabi.abi.emit import in_abi, needed_records
from kvmabi.abi.model import Abi, Array, Field, Record, Scalar

_UNSAFE: Final = "__unsafe"
"""What the kernel puts behind a field's name where its own code should not use it."""

OWN: Final = {
    "kvm_stats_desc": "the kernel's own has room for the name, which programs learn at run time",
}
"""Types that the headers give the kernel in another form than programs, and why."""

_Place = tuple[int, int, str]


def compare_running(abi: Abi, folder: Path = btf.FOLDER) -> Comparison:
    """The comparison of records and enumerators with the BTF in `folder`; AbiError without any."""
    kernel = running_kernel(folder)
    comparison = Comparison()
    records = [record for record in needed_records(abi) if record.tag is not None]
    tables = [types.records([record.name for record in records]) for types in kernel]
    for record in records:
        candidates = next((t[record.name] for t in tables if record.name in t), [])
        _record(record, candidates, comparison)
    ours = {e.name: e.value for e in abi.enumerators.values() if in_abi(e.origin)}
    theirs = btf.enumerators(list(ours), folder=folder)
    for name, value in ours.items():
        if name in theirs:
            comparison.check("enumerators", name, "value", value, theirs[name])
        else:
            comparison.exclude(name, "this kernel has no enumerator of that name")
    comparison.exclude("macros and ioctl numbers", "BTF has none of them")
    return comparison


def _record(ours: Record, candidates: Sequence[Record], comparison: Comparison) -> None:
    if not candidates or ours.name in OWN:
        reason = OWN.get(ours.name, "this kernel's BTF has no type of that name")
        comparison.exclude(ours.name, reason)
        return
    attempts = [_compared(ours, theirs) for theirs in candidates]
    best = min(attempts, key=lambda one: len(one.differences))
    comparison.counts.update(best.counts)
    comparison.differences += best.differences
    comparison.exclusions += best.exclusions


def _compared(ours: Record, theirs: Record) -> Comparison:
    result = Comparison()
    result.check("record sizes", ours.name, "kind", ours.kind, theirs.kind)
    result.check("record sizes", ours.name, "size", ours.size, theirs.size)
    mine, others = dict(_places(ours)), dict(_places(theirs))
    for path, place in mine.items():
        other = others.get(path)
        if other is None:
            result.exclude(f"{ours.name}.{path}", "only the headers have it")
            continue
        facts = zip(("bit offset", "bits", "type"), place, other, strict=True)
        for fact, here, there in facts:
            result.check("field places", f"{ours.name}.{path}", fact, here, there)
    for path in others.keys() - mine.keys():
        result.exclude(f"{ours.name}.{path}", "only the kernel has it")
    return result


def _places(record: Record, path: str = "", start: int = 0) -> Iterator[tuple[str, _Place]]:
    """(path, (first bit, bits, type)) of each named field, into records without a tag."""
    for field in record.fields:
        begin = start + (field.offset * 8 if field.bit_offset is None else field.bit_offset)
        bits = field.size * 8 if field.bit_width is None else field.bit_width
        inner = element_of(field.type)
        if field.name is not None:
            name = path + field.name.removesuffix(_UNSAFE)
            yield name, (begin, bits, _shape(field))
            if isinstance(inner, Record) and inner.tag is None:
                yield from _places(inner, f"{name}.", begin)
        elif isinstance(inner, Record):
            yield from _places(inner, path, begin)


def _shape(field: Field) -> str:
    """A field's type as far as BTF tells it."""
    type_, count = field.type, 1
    dimensions = ""
    while isinstance(type_, Array):  # BTF has one dimension, and does not tell `x[0]` from `x[]`
        count *= type_.count or 0
        dimensions = f"[{count or ''}]"
        type_ = type_.element
    # The kernel takes char as unsigned everywhere; programs do not.
    plain = isinstance(type_, Scalar) and type_.name == "char"
    return f"{'char' if plain else shape(type_)}{dimensions}"
