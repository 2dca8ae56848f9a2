"""C's integers: types, conversions, operators and literals, for LP64.

Everything wraps as compilers wrap; what C leaves undefined (a shift by the width or more, a
division by zero) raises `NotConstant` with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


class NotConstant(Exception):
    """An expression has no value that headers alone can give; the text says why."""


@dataclass(frozen=True, slots=True)
class IntegerType:
    """An integer type of C: `rank` orders types of one width (int < long < long long)."""

    name: str
    bits: int
    signed: bool
    rank: int

    def wrap(self, value: int) -> int:
        """`value` converted to this type (to 0 or 1 for _Bool)."""
        if self.bits == 1:
            return int(value != 0)
        value &= (1 << self.bits) - 1
        return value - (1 << self.bits) if self.signed and value >> (self.bits - 1) else value


BOOL: Final = IntegerType("_Bool", 1, False, 0)
CHAR: Final = IntegerType("char", 8, True, 1)
UNSIGNED_CHAR: Final = IntegerType("char", 8, False, 1)
"""Plain char, on the architectures where it is signed and on those where it is not."""
SCHAR: Final = IntegerType("signed char", 8, True, 1)
UCHAR: Final = IntegerType("unsigned char", 8, False, 1)
SHORT: Final = IntegerType("short", 16, True, 2)
USHORT: Final = IntegerType("unsigned short", 16, False, 2)
INT: Final = IntegerType("int", 32, True, 3)
UINT: Final = IntegerType("unsigned int", 32, False, 3)
LONG: Final = IntegerType("long", 64, True, 4)
ULONG: Final = IntegerType("unsigned long", 64, False, 4)
LLONG: Final = IntegerType("long long", 64, True, 5)
ULLONG: Final = IntegerType("unsigned long long", 64, False, 5)
INT128: Final = IntegerType("__int128", 128, True, 6)
UINT128: Final = IntegerType("unsigned __int128", 128, False, 6)

_UNSIGNED: Final = {3: UINT, 4: ULONG, 5: ULLONG, 6: UINT128}


@dataclass(frozen=True, slots=True)
class CInteger:
    """A value with its C type."""

    value: int
    type: IntegerType

    def cast(self, to: IntegerType) -> CInteger:
        """This value converted to another integer type."""
        return self if to is self.type else CInteger(to.wrap(self.value), to)


def promote(operand: CInteger) -> CInteger:
    """The operand after C's integer promotions."""
    return operand.cast(INT) if operand.type.rank < INT.rank else operand


def common_type(left: IntegerType, right: IntegerType) -> IntegerType:
    """The type of C's usual arithmetic conversions, for two promoted types."""
    if left is right:
        return left
    if left.signed == right.signed:
        return max(left, right, key=lambda kind: kind.rank)
    unsigned, signed = (right, left) if left.signed else (left, right)
    if unsigned.rank >= signed.rank:
        return unsigned
    return signed if signed.bits > unsigned.bits else _UNSIGNED[signed.rank]


def unary(operator: str, operand: CInteger) -> CInteger:
    """The value of `+ - ~ !` on an operand."""
    if operator == "!":
        return CInteger(int(operand.value == 0), INT)
    operand = promote(operand)
    value = {"+": operand.value, "-": -operand.value, "~": ~operand.value}[operator]
    return CInteger(operand.type.wrap(value), operand.type)


def _divide(left: int, right: int) -> int:
    if right == 0:
        raise NotConstant("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_ARITHMETIC: Final[dict[str, Callable[[int, int], int]]] = {
    "*": lambda left, right: left * right,
    "/": _divide,
    "%": lambda left, right: left - right * _divide(left, right),
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "&": lambda left, right: left & right,
    "^": lambda left, right: left ^ right,
    "|": lambda left, right: left | right,
}
_COMPARISONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
    "<=": lambda left, right: left <= right,
    ">=": lambda left, right: left >= right,
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
}


def binary(operator: str, left: CInteger, right: CInteger) -> CInteger:
    """The value of an operator on two operands; not for `&&`, `||`, `?:`, which may skip one."""
    left, right = promote(left), promote(right)
    if operator in ("<<", ">>"):
        return _shift(operator, left, right.value)
    kind = common_type(left.type, right.type)
    first, second = kind.wrap(left.value), kind.wrap(right.value)
    if operator in _COMPARISONS:
        return CInteger(int(_COMPARISONS[operator](first, second)), INT)
    return CInteger(kind.wrap(_ARITHMETIC[operator](first, second)), kind)


def _shift(operator: str, left: CInteger, count: int) -> CInteger:
    if not 0 <= count < left.type.bits:
        raise NotConstant(f"a shift by {count} is undefined for {left.type.name}")
    value = left.value << count if operator == "<<" else left.value >> count
    return CInteger(left.type.wrap(value), left.type)


_LITERAL: Final = re.compile(
    r"(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<bin>[01]+)|(?P<oct>0[0-7]*)|(?P<dec>[1-9][0-9]*))"
    r"(?P<suffix>[uUlL]*)\Z"
)
_SUFFIXES: Final = {"": INT.rank, "l": LONG.rank, "ll": LLONG.rank, "LL": LLONG.rank}


def literal(text: str) -> CInteger:
    """The value and type of an integer literal; NotConstant if it is none or fits no type."""
    match = _LITERAL.match(text)
    if match is None or len(text) > 200:
        raise NotConstant(f"{text[:40]} is not an integer constant")
    bases = (("hex", 16), ("bin", 2), ("oct", 8), ("dec", 10))
    value = next(int(match[group], base) for group, base in bases if match[group] is not None)
    suffix = match["suffix"]
    unsigned = suffix[:1] in ("u", "U") or suffix[-1:] in ("u", "U")
    longs = suffix.strip("uU")
    rank = _SUFFIXES.get(longs.lower() if longs == "L" else longs)
    if rank is None or len(suffix) != len(longs) + unsigned:
        raise NotConstant(f"{suffix} is no integer suffix")
    decimal = match["dec"] is not None
    for kind in (INT, UINT, LONG, ULONG, LLONG, ULLONG):
        if kind.rank < rank or (unsigned and kind.signed):
            continue
        if not kind.signed and decimal and not unsigned:
            continue
        if kind.wrap(value) == value:
            return CInteger(value, kind)
    raise NotConstant(f"{text} is too large for any integer type")


_ESCAPES: Final = {
    "n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27,
    "\\": 92, "'": 39, '"': 34, "?": 63,
}  # fmt: skip
_CHARACTER: Final = re.compile(
    r"\\(?P<simple>[ntrabfve\\'\"?])|\\x(?P<hex>[0-9a-fA-F]+)|\\(?P<oct>[0-7]{1,3})|(?P<plain>[^\\])"
)


def characters(body: str) -> list[int]:
    """The codes of a literal's characters, escapes resolved; NotConstant for a bad escape."""
    codes: list[int] = []
    position = 0
    while position < len(body):
        match = _CHARACTER.match(body, position)
        if match is None:
            raise NotConstant(f"unknown escape {body[position : position + 2]}")
        if match["simple"]:
            codes.append(_ESCAPES[match["simple"]])
        elif match["plain"]:
            codes += match["plain"].encode("utf-8", "surrogateescape")
        else:
            code = int(match["hex"], 16) if match["hex"] else int(match["oct"], 8)
            codes.append(code & 0xFF)
        position = match.end()
    return codes


def character(text: str, *, char_signed: bool) -> CInteger:
    """The value of a character constant such as 'a', as gcc gives it for several characters too."""
    if not text.startswith("'"):
        raise NotConstant(f"{text} is a wide character")
    codes = characters(text[1:-1])
    if len(codes) > 4:
        raise NotConstant(f"{text} is too long for a character constant")
    if len(codes) == 1:
        return CInteger((SCHAR if char_signed else UCHAR).wrap(codes[0]), INT)
    value = 0
    for code in codes:
        value = value << 8 | code
    return CInteger(INT.wrap(value), INT)
