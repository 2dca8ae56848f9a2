"""C's basic types as LP64 Linux has them, and the little in which architectures differ."""

from __future__ import annotations

from typing import Final

from kvmabi.abi.model import Scalar
from kvmabi.arch import Architecture
from kvmabi.header.integers import (
    BOOL,
    CHAR,
    INT,
    INT128,
    LLONG,
    LONG,
    SCHAR,
    SHORT,
    UCHAR,
    UINT,
    UINT128,
    ULLONG,
    ULONG,
    UNSIGNED_CHAR,
    USHORT,
    IntegerType,
)  # fmt: skip

INTEGERS: Final = {
    kind.name: kind
    for kind in (
        BOOL, SCHAR, UCHAR, SHORT, USHORT, INT, UINT, LONG, ULONG, LLONG, ULLONG, INT128, UINT128
    )
}  # fmt: skip

_FLOATS: Final = {"float": 4, "double": 8, "long double": 16, "_Float128": 16}


def scalar(name: str, architecture: Architecture) -> Scalar | None:
    """The type of a name that `header.specifiers.basic_type` gives; None for one not known."""
    if name == "void":
        return Scalar(name, "void", 0, 1, False)
    if name == "char":
        return Scalar(name, "char", 1, 1, architecture.char_signed)
    if name in _FLOATS:
        size = _FLOATS[name]
        return Scalar(name, "float", size, _wide_alignment(size, architecture), True)
    integer = INTEGERS.get(name)
    if integer is None:
        return None
    size = max(integer.bits // 8, 1)
    kind: Final = "bool" if integer is BOOL else "char" if size == 1 else "int"
    return Scalar(name, kind, size, _wide_alignment(size, architecture), integer.signed)


def _wide_alignment(size: int, architecture: Architecture) -> int:
    # The s390 ABI aligns nothing to more than 8 bytes.
    return min(size, 8) if architecture.name == "s390" else size


def integer_type(type_: Scalar) -> IntegerType | None:
    """The arithmetic type of a basic type, None for floats and void."""
    if type_.name == "char":
        return CHAR if type_.signed else UNSIGNED_CHAR
    return INTEGERS.get(type_.name)
