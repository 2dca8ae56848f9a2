"""Where the members of a struct or union lie: the System V rules, with GCC's packed and aligned.

All seven architectures that KVM has agree on them; they differ in the alignment of basic types
(`kvmabi.abi.basic`), and the bits of a bit-field count from the other end on big-endian ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvmabi.abi.model import Field, Type


@dataclass(frozen=True, slots=True)
class Member:
    """A member before it has a place.

    `width` is that of a bit-field; `aligned` and `packed` are what its attributes ask for.
    """

    name: str | None
    type: Type
    spelling: str
    width: int | None = None
    aligned: int = 0
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of all members, and what they add up to."""

    fields: tuple[Field, ...]
    size: int
    alignment: int


def round_up(value: int, to: int) -> int:
    """The lowest multiple of `to` that is not below `value`."""
    return (value + to - 1) // to * to


def lay_out(
    kind: str,
    members: Sequence[Member],
    *,
    packed: bool = False,
    aligned: int = 0,
    unnamed_bits_align: bool = False,
) -> Layout:
    """The layout of a struct or union; `packed` and `aligned` are its own attributes.

    `unnamed_bits_align` is the architecture's.
    """
    fields: list[Field] = []
    end_bits = 0
    widest_bits = 0
    alignment = 1
    for member in members:
        start_bits = 0 if kind == "union" else end_bits
        wanted = _alignment(member, packed)
        if member.width is None:
            start_bits = round_up(start_bits, wanted * 8)
            end_bits = start_bits + member.type.size * 8
        else:
            start_bits = _bit_start(member, start_bits, wanted, packed or member.packed)
            end_bits = start_bits + member.width
        if member.width is None or member.name is not None or unnamed_bits_align:
            alignment = max(alignment, member.type.alignment if member.width == 0 else wanted)
        widest_bits = max(widest_bits, end_bits)
        if member.width != 0:
            fields.append(_field(member, start_bits))
    alignment = max(alignment, aligned)
    return Layout(tuple(fields), round_up((widest_bits + 7) // 8, alignment), alignment)


def _alignment(member: Member, packed: bool) -> int:
    natural = 1 if packed or member.packed else member.type.alignment
    return max(natural, member.aligned)


def _bit_start(member: Member, start: int, wanted: int, packed: bool) -> int:
    """Where a bit-field starts: it crosses no boundary of its own type unless it is packed."""
    assert member.width is not None
    unit = member.type.size * 8
    if member.width == 0:
        return round_up(start, max(member.type.alignment, member.aligned) * 8)
    if member.aligned:
        start = round_up(start, member.aligned * 8)
    if packed or start // unit == (start + member.width - 1) // unit:
        return start
    return round_up(start, wanted * 8)


def _field(member: Member, start_bits: int) -> Field:
    return Field(
        name=member.name,
        type=member.type,
        spelling=member.spelling,
        offset=start_bits // 8,
        size=member.type.size,
        bit_offset=None if member.width is None else start_bits,
        bit_width=member.width,
    )
