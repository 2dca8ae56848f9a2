"""Facts of two kernels -> the changes between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kvmabi.abi.diff.changes import Change, Severity, merge
from kvmabi.abi.diff.constants import diff_constants
from kvmabi.abi.diff.ioctls import diff_functions, diff_ioctls, diff_opaque
from kvmabi.abi.diff.records import diff_records
from kvmabi.abi.facts import Facts


def diff_architecture(old: Facts, new: Facts) -> list[Change]:
    """The changes of one architecture, without its name in them."""
    return [
        *diff_records(old, new),
        *diff_ioctls(old, new),
        *diff_constants(old, new),
        *diff_functions(old, new),
        *diff_opaque(old, new),
    ]


def diff_facts(old: Mapping[str, Facts], new: Mapping[str, Facts]) -> list[Change]:
    """The changes of all architectures that one of the two has; the worst first."""
    found: dict[str, list[Change]] = {}
    for name in dict.fromkeys([*old, *new]):
        if name not in old:
            why = "there was no KVM on it"
            detail = f"{len(new[name].constants)} constants, {len(new[name].ioctls)} ioctls"
            change = Change(Severity.COMPATIBLE, "architecture", name, "added", detail, why)
            found[name] = [change]
        elif name not in new:
            why = "it has no KVM any more"
            change = Change(Severity.BREAKING, "architecture", name, "removed", "", why)
            found[name] = [change]
        else:
            changes = diff_architecture(old[name], new[name])
            found[name] = [_elsewhere(change, name, old, new) for change in changes]
    return merge(found)


def _elsewhere(
    change: Change, architecture: str, old: Mapping[str, Facts], new: Mapping[str, Facts]
) -> Change:
    """The change, or a milder one where another architecture keeps what went from this one.

    So it is when a name that only some architectures can use moves from linux/kvm.h to their own
    header.
    """
    if change.what not in ("removed", "no value any more"):
        return change
    keep = [
        name for name in new
        if name != architecture and name in old
        and change.name in _valued(old[name]) and change.name in _valued(new[name])
    ]  # fmt: skip
    if not keep:
        return change
    why = "other architectures may have had the name, but no use for it"
    return replace(
        change, severity=Severity.ATTENTION, what="removed", detail=f"only {', '.join(keep)} now",
        why=why,
    )  # fmt: skip


def _valued(facts: Facts) -> set[str]:
    return {*facts.records, *facts.ioctls, *facts.constants, *facts.functions}
