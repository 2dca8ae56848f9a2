"""The running kernel as one side of a diff: its BTF, as far as the other side has the names.

BTF has no macros and no ioctls, and it has types of the kernel's own; so only the records and
enumerators of the other side are looked up, and those that a kernel lacks are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Final

from kvmabi import arch
from kvmabi.abi import btf
from kvmabi.abi.btf_types import running_kernel
from kvmabi.abi.diff.fields import FieldDiff
from kvmabi.abi.facts import ConstantFact, Facts, FieldFact, RecordFact, record_fact
from kvmabi.abi.model import Record
from kvmabi.abi.sides import Side
from kvmabi.errors import UsageError

RUNNING: Final = "running"
_UNSAFE: Final = "__unsafe"
_OTHER_FOR_KERNELS: Final = {
    "kvm_stats_desc": "name",
    "kvm_run": "hypercall.longmode system_event.flags",
}
"""Fields that headers declare for programs alone, or otherwise for the kernel (by __KERNEL__)."""


def running_sides(other: Side, folder: Path = btf.FOLDER) -> tuple[Side, Side, str]:
    """(the running kernel, the other side, a note), both with what can be compared and no more.

    AbiError where this kernel has no BTF; UsageError where the other side lacks its architecture.
    """
    name = arch.host().name
    if name not in other.facts:
        raise UsageError(f"{other.label} has no {name}, which this kernel runs on")
    facts = other.facts[name]
    ours, theirs = shared_facts(facts, folder)
    wanted = sum(fact.kind == "enumerator" for fact in facts.constants.values())
    note = (
        f"BTF has no macros and no ioctls: compared are {len(ours.records)} of {len(facts.records)}"
        f" structs and {len(ours.constants)} of {wanted} enumerators, those that this kernel has"
    )
    running = Side("the running kernel", {name: ours}, {})
    return running, replace(other, facts={name: theirs}), note


def shared_facts(facts: Facts, folder: Path = btf.FOLDER) -> tuple[Facts, Facts]:
    """(the running kernel's facts, these facts): records and enumerators that both have."""
    kernel = running_kernel(folder)
    known = [types.records(list(facts.records)) for types in kernel]
    shared = {one: _shared(one, record) for one, record in facts.records.items()}
    records = {
        one: found
        for one, record in shared.items()
        if (found := _best(one, record, next((k[one] for k in known if one in k), []))) is not None
    }
    wanted = [one for one, fact in facts.constants.items() if fact.kind == "enumerator"]
    values = btf.enumerators(wanted, folder=folder)
    constants = {one: ConstantFact("enumerator", value) for one, value in values.items()}
    ours = Facts(records, constants, {}, {}, {})
    theirs = Facts(
        {one: shared[one] for one in records},
        {one: facts.constants[one] for one in constants},
        {}, {}, {},
    )  # fmt: skip
    return ours, theirs


def _shared(name: str, record: RecordFact) -> RecordFact:
    dropped = _OTHER_FOR_KERNELS.get(name, "").split()
    fields = {path: one for path, one in record.fields.items() if path not in dropped}
    return replace(record, fields=fields)


def _best(name: str, other: RecordFact, found: Sequence[Record]) -> RecordFact | None:
    """Of a kernel's records of one name the one most like the other side's."""
    facts = [_tidied(name, record_fact(record), other) for record in found]
    return min(facts, key=lambda fact: len(list(FieldDiff(name, other, fact).changes())),
               default=None)  # fmt: skip


def _tidied(name: str, fact: RecordFact, other: RecordFact) -> RecordFact:
    """Without what only the kernel's own view has, or BTF cannot tell.

    BTF knows no alignment, no dimensions of an array, and the kernel's plain char has no sign.
    """
    fields = {}
    for path, field in fact.fields.items():
        shown = path.replace(_UNSAFE, "")
        theirs = other.fields.get(shown)
        alike = theirs is not None and _flat(theirs) == _flat(field)
        fields[shown] = replace(field, shape=theirs.shape) if alike and theirs else field
    own = _shared(name, replace(fact, fields=fields, alignment=other.alignment))
    # A flexible array for programs may have a length for the kernel, and the record with it.
    return replace(own, size=other.size) if len(own.fields) < len(fields) else own


def _flat(field: FieldFact) -> tuple[str, int, int]:
    """An array's element, its number of elements, and its bits; other types are as they are."""
    element, *dimensions = field.shape.replace("]", "").split("[")
    plain = "u8" if dimensions and element == "i8" else element
    return plain, prod(int(one or 0) for one in dimensions), field.bits
