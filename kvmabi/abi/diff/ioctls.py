"""Changes of ioctls, function-like macros, and names without a value."""

from __future__ import annotations

from collections.abc import Iterator

from kvmabi.abi.diff.changes import Change, Severity
from kvmabi.abi.diff.names import most_alike
from kvmabi.abi.facts import Facts, IoctlFact


def diff_ioctls(old: Facts, new: Facts) -> Iterator[Change]:
    """The changes from one set of facts to another."""
    gone = [name for name in old.ioctls if name not in new.ioctls and name not in new.opaque]
    fresh = [name for name in new.ioctls if name not in old.ioctls and name not in old.opaque]
    renamed: dict[str, str] = {}
    for name in gone:
        number = old.ioctls[name].number
        alike = [n for n in fresh if new.ioctls[n].number == number and n not in renamed.values()]
        best = most_alike(name, alike)
        if best is not None:
            renamed[name] = best
            why = "built programs go on; source that has the old name does not compile"
            detail = f"now {best}, still {describe(old.ioctls[name])}"
            yield Change(Severity.ATTENTION, "ioctl", name, "renamed", detail, why)
        else:
            why = "programs that use it do not compile"
            detail = f"was {describe(old.ioctls[name])}"
            yield Change(Severity.BREAKING, "ioctl", name, "removed", detail, why)
    for name in fresh:
        if name not in renamed.values():
            yield from _added(name, old, new)
    for name in old.ioctls.keys() & new.ioctls.keys():
        yield from _both(name, old.ioctls[name], new.ioctls[name])


def _added(name: str, old: Facts, new: Facts) -> Iterator[Change]:
    ioctl = new.ioctls[name]
    others = [n for n, o in new.ioctls.items() if o.number == ioctl.number and n != name]
    known = [n for n in others if n in old.ioctls]
    if others:
        severity = Severity.BREAKING if known else Severity.ATTENTION
        why = (
            "a kernel cannot tell the two apart, and the number already has a meaning"
            if known
            else "two new names, one number: is that meant?"
        )
        detail = f"{describe(ioctl)}, as {(known or others)[0]} has it"
        yield Change(severity, "ioctl", name, "same value", detail, why)
    why = "kernels without it answer ENOTTY"
    yield Change(Severity.COMPATIBLE, "ioctl", name, "added", describe(ioctl), why)


def describe(ioctl: IoctlFact) -> str:
    """An ioctl in words that are the same for every encoding of numbers."""
    tail = f" {ioctl.direction} {ioctl.argument} ({ioctl.size} bytes)" if ioctl.direction else ""
    return f"{ioctl.number & 0xFF:#04x}{tail}"


def _both(name: str, old: IoctlFact, new: IoctlFact) -> Iterator[Change]:
    if old.number != new.number:
        parts = []
        if old.size != new.size:
            parts.append(f"argument {old.size} -> {new.size} bytes")
        if old.direction != new.direction:
            parts.append(f"direction {old.direction or 'none'} -> {new.direction or 'none'}")
        detail = f"{old} -> {new}" + (f" ({', '.join(parts)})" if parts else "")
        why = "programs built with the old number call something else, or nothing"
        yield Change(Severity.BREAKING, "ioctl", name, "changed", detail, why)
    elif old.argument != new.argument:
        why = "the number is the same, so the kernel cannot tell which argument it gets"
        detail = f"{old.argument} -> {new.argument}"
        yield Change(Severity.ATTENTION, "ioctl", name, "another argument", detail, why)


def diff_functions(old: Facts, new: Facts) -> Iterator[Change]:
    """The changes of function-like macros."""
    for name, function in old.functions.items():
        other = new.functions.get(name)
        if other is None:
            severity = Severity.ATTENTION if name in new.constants else Severity.BREAKING
            why = "programs that use it do not compile"
            yield Change(severity, "function", name, "removed", f"({function.parameters})", why)
        elif other.parameters != function.parameters:
            detail = f"({function.parameters}) -> ({other.parameters})"
            same = function.parameters.count(",") == other.parameters.count(",")
            severity = Severity.ATTENTION if same else Severity.BREAKING
            why = "calls must be written with these parameters"
            yield Change(severity, "function", name, "changed", detail, why)
        elif other.digest != function.digest:
            why = "its text is another: does it still give the same values?"
            yield Change(Severity.ATTENTION, "function", name, "changed", "", why)
    for name in new.functions.keys() - old.functions.keys():
        detail = f"({new.functions[name].parameters})"
        why = "nothing had this name"
        yield Change(Severity.COMPATIBLE, "function", name, "added", detail, why)


def diff_opaque(old: Facts, new: Facts) -> Iterator[Change]:
    """The changes of names that have no value in one of the two."""
    valued_before = {**old.ioctls, **old.constants}
    valued_now = {**new.ioctls, **new.constants}
    for name, reason in new.opaque.items():
        if name in valued_before:
            kind = "ioctl" if name in old.ioctls else "macro"
            why = "programs that use it may not compile"
            yield Change(Severity.ATTENTION, kind, name, "no value any more", reason, why)
        elif name not in old.opaque and name not in old.functions:
            why = "nothing had this name; it cannot be used on this architecture"
            yield Change(Severity.COMPATIBLE, "macro", name, "added", reason, why)
    for name in old.opaque:
        if name in valued_now:
            kind = "ioctl" if name in new.ioctls else "macro"
            why = "it could not be used before"
            fact = valued_now[name]
            detail = describe(fact) if isinstance(fact, IoctlFact) else str(fact)
            yield Change(Severity.COMPATIBLE, kind, name, "has a value now", detail, why)
        elif name not in new.opaque and name not in new.functions:
            why = "it could not be used on this architecture before either"
            yield Change(Severity.COMPATIBLE, "macro", name, "removed", "had no value", why)
