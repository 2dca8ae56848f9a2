"""What names of the ABI are, as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kvmabi.abi.history import History
from kvmabi.abi.lookup import Constant, Found, FunctionView, Item, Unresolved
from kvmabi.abi.view import IoctlView, Layout, Member, flattened
from kvmabi.arch import ARCHITECTURES

_CALLS: Final = {"": "_IO", "R": "_IOR", "W": "_IOW", "RW": "_IOWR"}


def line(found: Found, history: History, width: int = 0) -> str:
    """One line: name, what it is, where and since when it exists."""
    first = found.first
    more = f" (and {len(_valued(found)) - 1} other forms)" if len(_valued(found)) > 1 else ""
    where = _architectures(
        [n for names, item in _valued(found) for n in names] or found.forms[0][0]
    )
    return f"{found.name.ljust(width)}  {_short(first)}{more}  [{where}{_since(found, history)}]"


def _valued(found: Found) -> list[tuple[tuple[str, ...], Item]]:
    return [form for form in found.forms if not isinstance(form[1], Unresolved)]


def _since(found: Found, history: History) -> str:
    version = history.since(found.name)
    return f"; since {version}" if version else ""


def _architectures(names: Sequence[str]) -> str:
    return "all architectures" if len(names) == len(ARCHITECTURES) else ", ".join(names)


def _short(item: Item) -> str:
    match item:
        case Layout(title=title, size=size):
            return f"{title.partition(' ')[0]}, {size} bytes"
        case IoctlView():
            return f"= {ioctl_text(item)}"
        case Constant(value=value):
            return f"= {_value(value)}"
        case FunctionView(parameters=parameters, c_type=c_type):
            return f"({parameters}) -> {c_type}"
        case Unresolved(reason=reason):
            return f"has no value: {reason}"


def ioctl_text(item: IoctlView) -> str:
    """An ioctl's number, and the C that makes it."""
    argument = f", {item.argument}" if item.argument else ""
    return f"{item.number:#x} = {_CALLS[item.direction]}({item.type:#x}, {item.nr:#04x}{argument})"


def _value(value: int | str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value} ({value:#x})" if value > 9 else str(value)


def details(found: Found, history: History) -> str:
    """All about one name: its first form in full, and how others differ."""
    names, first = found.forms[0]
    lines = list(_full(first, history))
    where = f"on {_architectures(names)}"
    lines.append(f"{where}{_since(found, history)}")
    rest = found.forms[1:]
    if isinstance(first, Layout) and any(isinstance(item, Layout) for _, item in rest):
        lines.append("other layouts (--arch A shows one):")
    for others, item in rest:
        lines.append(f"  on {_architectures(others)}: {_short(item)}")
    return "\n".join(lines)


def _full(item: Item, history: History) -> Iterator[str]:
    if isinstance(item, Layout):
        yield from _layout(item, history.new_fields(item.name))
        return
    yield (
        f"{item.name} {_short(item)}"
        if not isinstance(item, FunctionView)
        else (f"{item.name}{_short(item)}")
    )
    if isinstance(item, IoctlView):
        what = {"": "takes no argument", "W": "is written by user space",
                "R": "is read by user space", "RW": "goes both ways"}[item.direction]  # fmt: skip
        yield f"  direction: {what}" if item.direction else f"  {what}"
        yield f"  type {item.type:#x}, nr {item.nr:#04x}, size {item.size} bytes"
    if isinstance(item, Constant) and item.note:
        yield f"  {item.note}"


def _layout(layout: Layout, new: dict[str, str]) -> Iterator[str]:
    holes = [member for member in flattened(layout.members) if member.kind == "hole"]
    digits = len(str(layout.size))
    yield f"{layout.title} {{"
    yield f"  {'offset'.rjust(max(6, digits))}  {'size'.rjust(max(4, digits))}"
    yield from _members(layout.members, 1, new)
    total = f"{sum(hole.size for hole in holes)} bytes in {len(holes)} holes"
    yield f"}}  {layout.size} bytes, alignment {layout.alignment}, {total if holes else 'no holes'}"
    yield f"from {layout.origin}"


def _members(members: Sequence[Member], depth: int, new: dict[str, str]) -> Iterator[str]:
    indent = "    " * depth
    for member in members:
        place = f"  {member.offset:6}  {_extent(member):>4}"
        if member.kind == "hole":
            yield f"{place}{indent}-- hole"
            continue
        since = f"  since {new[member.path]}" if member.path in new and member.name else ""
        if not member.members:
            yield f"{place}{indent}{member.declaration};{since}"
            continue
        yield f"{place}{indent}{member.kind} {{"
        yield from _members(member.members, depth + 1, new)
        tail = member.declaration.removeprefix(member.kind)
        yield f"  {'':6}  {'':4}{indent}}}{tail};{since}"


def _extent(member: Member) -> str:
    """Bytes, or for a bit-field the bits of the byte at its offset."""
    if member.bits is None:
        return str(member.size)
    first, width = member.bits
    return f".{first}" if width == 1 else f".{first}-{first + width - 1}"
