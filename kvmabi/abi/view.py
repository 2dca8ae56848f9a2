"""A generated module -> what a person wants to see: layouts with holes, ioctls with their parts.

Nothing here needs headers: the classes of a module know their layout, and the C types of fields.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kvmabi.arch import Architecture

_DOCSTRING: Final = re.compile(r"(struct|union)(?: (\w+))?: \d+ bytes, alignment (\d+), (.*)\.")
_UNNAMED: Final = re.compile(r"_bits\d+")
_PADDING: Final = re.compile(r"_pad\d+")


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a record; a hole has no `name` and no `declaration`.

    `offset` and `size` are in bytes from the outermost record's start, `bits` is (first bit in the
    byte at `offset`, number of bits) for a bit-field. `path` is its name with those of the records
    around it, as snapshots have it. `members` are those of a record that has no tag of its own.
    """

    name: str
    declaration: str
    offset: int
    size: int
    path: str
    bits: tuple[int, int] | None = None
    kind: str = ""
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """A struct or union; `title` is as C has it ("struct kvm_regs")."""

    name: str
    title: str
    size: int
    alignment: int
    origin: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class IoctlView:
    """An ioctl; `direction` is "", "R", "W" or "RW" as in C's macros, `size` is in bytes."""

    name: str
    number: int
    direction: str
    type: int
    nr: int
    size: int
    argument: str


def ioctl_view(
    module: Mapping[str, Any], architecture: Architecture, name: str
) -> IoctlView | None:
    """The ioctl of that name; None if there is none."""
    if name not in module["IOCTLS"]:
        return None
    number: int = module[name]
    bits, type_, nr, size = architecture.ioctl.parts(number)
    return IoctlView(
        name, number, direction(architecture, bits), type_, nr, size, module["IOCTLS"][name]
    )


def direction(architecture: Architecture, bits: int) -> str:
    """The letters of an ioctl number's direction bits, as C's macros have them, maybe none."""
    encoding = architecture.ioctl
    return "R" * bool(bits & encoding.read) + "W" * bool(bits & encoding.write)


def layout(module: Mapping[str, Any], name: str) -> Layout | None:
    """The layout of the class of that name; None if there is none."""
    class_ = module.get(name)
    if not (isinstance(class_, type) and hasattr(class_, "_c_types_")):
        return None
    kind, tag, alignment, origin = _described(class_)
    return Layout(
        name,
        f"{kind} {tag or name}",
        ctypes.sizeof(class_),
        alignment,
        origin,
        tuple(_members(class_, 0, "")),
    )


def _described(class_: Any) -> tuple[str, str, int, str]:
    """(kind, tag, alignment, header), which only the docstring of a class has."""
    match = _DOCSTRING.fullmatch(class_.__doc__ or "")
    assert match is not None, class_
    return match[1], match[2] or "", int(match[3]), match[4]


def _members(class_: Any, base: int, prefix: str) -> Iterator[Member]:
    """The members of a class in their order, with the holes between them."""
    union = issubclass(class_, ctypes.Union)
    spellings = iter(class_._c_types_)
    end = 0
    for entry in class_._fields_:
        name, type_ = entry[:2]
        place = getattr(class_, name)
        if _PADDING.fullmatch(name):
            continue
        member = _member(class_, entry, type_, next(spellings, ""), base, prefix)
        start = place.offset
        if not union and start > end and member.bits is None:
            yield _hole(base + end, start - end)
        if member.bits is None:
            end = max(end, start + place.size)
        else:
            end = max(end, start + (member.bits[0] + member.bits[1] + 7) // 8)
            end = max(end, member.offset - base + 1)
        yield member
    if ctypes.sizeof(class_) > end:
        yield _hole(base + end, ctypes.sizeof(class_) - end)


def _hole(offset: int, size: int) -> Member:
    return Member("", "", offset, size, "", kind="hole")


def _member(class_: Any, entry: Any, type_: Any, spelling: str, base: int, prefix: str) -> Member:
    name = entry[0]
    place = getattr(class_, name)
    anonymous = name in getattr(class_, "_anonymous_", ())
    shown = "" if anonymous else name
    path = prefix if anonymous else f"{prefix}{name}"
    if len(entry) == 3:
        first = _first_bit(class_, place, type_)
        offset, bits = base + place.offset + first // 8, (first % 8, entry[2])
        if _UNNAMED.fullmatch(name):
            return Member("", f"{spelling} :{entry[2]}", offset, 0, "", bits=bits)
        return Member(shown, f"{spelling} {shown}:{entry[2]}", offset, 0, path, bits=bits)
    element, dimensions = type_, ""
    while issubclass(element, ctypes.Array):
        dimensions += f"[{element._length_ or ''}]"
        element = element._type_
    spelling = spelling.replace("[]", "")
    if spelling.endswith("128"):
        dimensions = dimensions.removesuffix("[16]")  # ctypes has no integer of 128 bits
    gap = "" if spelling.endswith("*") else " "
    text = f"{spelling}{gap if shown else ''}{shown}{dimensions}"
    kind, tag = _described(element)[:2] if hasattr(element, "_c_types_") else ("", "")
    start = base + place.offset
    inner: tuple[Member, ...] = ()
    if kind and not tag:
        separator = "" if anonymous else f"{'[]' if dimensions else ''}."
        inner = tuple(_members(element, start, path + separator))
    return Member(shown, text, start, place.size, path, kind=kind, members=inner)


def _first_bit(class_: Any, place: Any, type_: Any) -> int:
    """The first bit of a bit-field in its unit, in the order in which the architecture fills it."""
    low, width = place.size & 0xFFFF, place.size >> 16
    if "BigEndian" in class_.__mro__[1].__name__:
        return int(ctypes.sizeof(type_) * 8 - low - width)
    return int(low)


def flattened(members: tuple[Member, ...]) -> Iterator[Member]:
    """All members, those of inner records behind them."""
    for member in members:
        yield member
        yield from flattened(member.members)
