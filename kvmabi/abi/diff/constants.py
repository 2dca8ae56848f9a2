"""Changes of macros, enumerators and capabilities."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Final

from kvmabi.abi.diff.changes import Change, Severity
from kvmabi.abi.diff.names import is_count, kind_of, mask_stem, most_alike, number_family
from kvmabi.abi.facts import ConstantFact, Facts

_OK: Final = Severity.COMPATIBLE
_LOOK: Final = Severity.ATTENTION
_BREAKS: Final = Severity.BREAKING


def diff_constants(old: Facts, new: Facts) -> Iterator[Change]:
    """The changes from one set of facts to another."""
    gone = {n: c for n, c in old.constants.items() if n not in _all_names(new)}
    fresh = {n: c for n, c in new.constants.items() if n not in _all_names(old)}
    renamed = dict(_renames(gone, fresh))
    for name, constant in gone.items():
        if name in renamed:
            yield _change(
                _LOOK, name, constant, "renamed", f"now {renamed[name]}, still {constant}",
                "built programs go on; source that has the old name does not compile",
            )  # fmt: skip
        else:
            yield _removed(name, constant)
    for name, constant in fresh.items():
        if name not in renamed.values():
            yield _added(name, constant, new)
    for name in old.constants.keys() & new.constants.keys():
        yield from _both(name, old.constants[name], new.constants[name])
    yield from _collisions(old, new, fresh.keys() - set(renamed.values()))
    yield from _outside_masks(old, new)


def _all_names(facts: Facts) -> set[str]:
    return {*facts.constants, *facts.ioctls, *facts.functions, *facts.opaque}


def _change(
    severity: Severity, name: str, fact: ConstantFact, what: str, detail: str, why: str
) -> Change:
    return Change(severity, kind_of(name, fact.kind), name, what, detail, why)


def _renames(
    gone: dict[str, ConstantFact], fresh: dict[str, ConstantFact]
) -> Iterator[tuple[str, str]]:
    left = dict(fresh)
    for name, constant in gone.items():
        if constant.value is None:
            continue
        alike = [other for other, c in left.items() if c.value == constant.value]
        best = most_alike(name, alike)
        if best is not None:
            del left[best]
            yield name, best


def _removed(name: str, constant: ConstantFact) -> Change:
    if constant.value is None:
        why = "programs that ask for it by #ifdef take their other branch"
        return _change(_LOOK, name, constant, "removed", "was defined", why)
    why = "programs that use it do not compile"
    return _change(_BREAKS, name, constant, "removed", f"was {constant}", why)


def _added(name: str, constant: ConstantFact, new: Facts) -> Change:
    if constant.alias and constant.alias in new.constants:
        return _change(_OK, name, constant, "added", f"another name of {constant.alias}",
                       "both names mean the same")  # fmt: skip
    return _change(_OK, name, constant, "added", str(constant), "nothing had this name")


def _both(name: str, old: ConstantFact, new: ConstantFact) -> Iterator[Change]:
    if old.value != new.value:
        severity, why = _judge(name, old, new)
        yield _change(severity, name, new, "changed", f"{old} -> {new}", why)
    elif old.kind != new.kind:
        why = (
            "#ifdef no longer sees it"
            if new.kind == "enumerator"
            else "#ifdef sees it now; the value is the same"
        )
        severity = _LOOK if new.kind == "enumerator" else _OK
        yield _change(severity, name, new, "respelled", f"{old.kind} -> {new.kind}", why)


def _judge(name: str, old: ConstantFact, new: ConstantFact) -> tuple[Severity, str]:
    if not isinstance(old.value, int) or not isinstance(new.value, int):
        return _LOOK, "it is no longer the same kind of value"
    if mask_stem(name) is not None:
        lost = old.value & ~new.value
        if lost:
            return _BREAKS, f"flags {lost:#x} were accepted, and are refused now"
        return _OK, f"flags {new.value & ~old.value:#x} are accepted now, none less"
    if is_count(name):
        if new.value > old.value:
            return _OK, "a count that grew"
        return _LOOK, "a count that shrank: are fewer accepted?"
    return _BREAKS, "a program built with the old value means something else"


def _collisions(old: Facts, new: Facts, fresh: set[str]) -> Iterator[Change]:
    """New names for a number that already has one in the same numbering."""
    taken: dict[tuple[str, int], str] = {}
    for name in sorted(new.constants, key=lambda name: (name in fresh, name)):
        constant = new.constants[name]
        family = number_family(name, new.constants)
        if family is None or not isinstance(constant.value, int) or constant.alias:
            continue
        other = taken.setdefault((family, constant.value), name)
        if other == name or name not in fresh:
            continue
        if other in old.constants:
            why = "a kernel cannot tell the two apart, and the number already has a meaning"
            severity = _BREAKS
        else:
            why, severity = "two new names, one number: is that meant?", _LOOK
        yield _change(severity, name, constant, "same value", f"{constant}, as {other} has it", why)


def _outside_masks(old: Facts, new: Facts) -> Iterator[Change]:
    """Single flag bits that the mask of their family does not let through."""
    before = set(_outside(old))
    for name, mask in _outside(new):
        if (name, mask) not in before:
            value = new.constants[name]
            yield _change(
                _LOOK, name, value, "outside the mask", f"{value} is not in {mask}",
                "the kernel refuses a flag that its mask does not have",
            )  # fmt: skip


def _outside(facts: Facts) -> Iterator[tuple[str, str]]:
    masks = {
        name: (stem, fact.value) for name, fact in facts.constants.items()
        if (stem := mask_stem(name)) is not None and isinstance(fact.value, int)
    }  # fmt: skip
    for mask_name, (stem, own) in masks.items():
        # KVM_MSR_FILTER_WRITE is none of KVM_MSR_FILTER's flags where a longer stem's mask has it.
        values = [value for other, value in masks.values() if other.startswith(f"{stem}_")]
        allowed = reduce(int.__or__, values, own)
        flags = [
            name for name in facts.constants if name.startswith((f"{stem}_FLAG", f"{stem}_F_"))
        ]
        for name in flags or [name for name in facts.constants if name.startswith(f"{stem}_")]:
            value = facts.constants[name].value
            single = isinstance(value, int) and value > 0 and value & (value - 1) == 0
            if single and isinstance(value, int) and value & ~allowed and not is_count(name):
                yield name, mask_name
