"""The running kernel as one side of a diff: its BTF, as far as the other side has the names.

BTF has no macros and no ioctls, and it has types of the kernel's own; so only the records and
enumerators of the other side are looked up, and those that a kernel lacks are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from kvmabi import arch
from kvmabi.abi import btf
from kvmabi.abi.btf_types import running_kernel
from kvmabi.abi.diff.fields import FieldDiff
from kvmabi.abi.facts import ConstantFact, Facts, RecordFact, record_fact
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
    note = (
        f"BTF has no macros and no ioctls: compared are {len(records)} of {len(facts.records)}"
        f" structs and {len(values)} of {len(wanted)} enumerators, those that this kernel has"
    )
    running = Side("the running kernel", {name: ours}, {})
    return running, replace(other, facts={name: theirs}), note


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

    BTF knows no alignment, no dimensions of an array, and not whether plain char has a sign.
    """
    fields = {}
    for path, field in fact.fields.items():
        shown = path.replace(_UNSAFE, "")
        theirs = other.fields.get(shown)
        alike = theirs is not None and theirs.bits == field.bits and field.shape.endswith("]")
        fields[shown] = replace(field, shape=theirs.shape) if alike and theirs else field
    own = _shared(name, replace(fact, fields=fields, alignment=other.alignment))
    # A flexible array for programs may have a length for the kernel, and the record with it.
    return replace(own, size=other.size) if len(own.fields) < len(fields) else own
