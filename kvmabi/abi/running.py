"""Facts of an ABI compared with the running kernel's own types, as far as those two overlap.

The kernel may be older or newer than the facts, and has types of its own; so what only one of them
has is left out, with that as the reason. What both have must agree.
"""

from __future__ import annotations

from pathlib import Path

from kvmabi.abi import btf
from kvmabi.abi.compare import Comparison
from kvmabi.abi.diff.names import is_count
from kvmabi.abi.facts import Facts, RecordFact
from kvmabi.abi.running_side import shared_facts


def compare_running(facts: Facts, folder: Path = btf.FOLDER) -> Comparison:
    """The comparison of records and enumerators with the BTF in `folder`; AbiError without any."""
    kernel, shared = shared_facts(facts, folder)
    comparison = Comparison()
    for name in facts.records:
        if name in shared.records:
            _record(name, shared.records[name], kernel.records[name], comparison)
        else:
            comparison.exclude(name, "this kernel's BTF has no type of that name")
    for name, fact in facts.constants.items():
        if name in kernel.constants:
            theirs = kernel.constants[name].value
            if is_count(name) and _grew(fact.value, theirs):
                comparison.exclude(name, f"a count, which grew from {fact.value} to {theirs}")
                continue
            comparison.check("enumerators", name, "value", fact.value, theirs)
        elif fact.kind == "enumerator":
            comparison.exclude(name, "this kernel has no enumerator of that name")
    comparison.exclude("macros and ioctl numbers", "BTF has none of them")
    return comparison


def _grew(old: object, new: object) -> bool:
    return isinstance(old, int) and isinstance(new, int) and new > old


def _record(name: str, ours: RecordFact, theirs: RecordFact, result: Comparison) -> None:
    result.check("record sizes", name, "kind", ours.kind, theirs.kind)
    result.check("record sizes", name, "size", ours.size, theirs.size)
    for path, mine in ours.fields.items():
        other = theirs.fields.get(path)
        if other is None:
            result.exclude(f"{name}.{path}", "only the headers have it")
            continue
        result.check("field places", f"{name}.{path}", "bit offset", mine.bit, other.bit)
        result.check("field places", f"{name}.{path}", "bits", mine.bits, other.bits)
        result.check("field places", f"{name}.{path}", "type", mine.shape, other.shape)
    for path in theirs.fields.keys() - ours.fields.keys():
        result.exclude(f"{name}.{path}", "only the kernel has it")
