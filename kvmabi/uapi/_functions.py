"""What the functions of the generated modules use: C's arithmetic on Python's integers."""

from __future__ import annotations

import re
from ctypes import Array, Structure, Union, sizeof
from typing import Any, Final

_LIMIT: Final = 1 << 64
_STEP: Final = re.compile(r"\.?([A-Za-z_]\w*)|\[(\d+)\]")


def check(*values: int) -> None:
    """ValueError unless every value fits `__u64`, which macros' arguments are taken as."""
    for value in values:
        if not 0 <= value < _LIMIT:
            raise ValueError(f"{value:#x} is not in 0..{_LIMIT - 1:#x}")


def signed(value: int, bits: int) -> int:
    """The value of a two's complement number of so many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def count(shift: int, bits: int) -> int:
    """A shift's count; ValueError where C leaves the shift of a number so wide undefined."""
    if not 0 <= shift < bits:
        raise ValueError(f"a shift by {shift} is undefined for {bits} bits")
    return shift


def divide(left: int, right: int) -> int:
    """C's quotient, which drops the fraction; ValueError for a division by zero."""
    if right == 0:
        raise ValueError("a division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def remainder(left: int, right: int) -> int:
    """C's remainder, which has the sign of `left`; ValueError for a division by zero."""
    return left - right * divide(left, right)


def offset_of(class_: type[Structure | Union], path: str) -> int:
    """offsetof(class_, path) in bytes; `path` is as C writes it ("regs.pc", "fp_regs.vregs[3]").

    ValueError if there is no such field. As in C, an index may point behind an array.
    """
    offset = 0
    kind: Any = class_
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or (position == 0) != (path[position] not in ".["):
            raise ValueError(f"{path!r} is no path to a field")
        name, index = match.groups()
        step, kind = _field(kind, name) if name else _element(kind, int(index), path)
        offset += step
        position = match.end()
    if not path:
        raise ValueError("an empty path to a field")
    return offset


def _field(class_: Any, name: str) -> tuple[int, Any]:
    fields = getattr(class_, "_fields_", ())
    for entry in fields:
        if entry[0] == name:
            return getattr(class_, name).offset, entry[1]
    for entry in fields:
        if entry[0] in getattr(class_, "_anonymous_", ()):
            try:
                offset, kind = _field(entry[1], name)
            except ValueError:
                continue
            return getattr(class_, entry[0]).offset + offset, kind
    raise ValueError(f"{getattr(class_, '__name__', class_)} has no field {name}")


def _element(array: Any, index: int, path: str) -> tuple[int, Any]:
    element = getattr(array, "_type_", None)
    if not isinstance(element, type) or not issubclass(array, Array):
        raise ValueError(f"{path!r} has an index into something that is no array")  # noqa: TRY004
    return index * sizeof(element), element
