"""What a header says, as syntax: declarations, types and expressions, with nothing worked out.

Layout and values come later and per architecture (see `kvmabi.abi`); an `at` is the token that an
error about the node should point to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kvmabi.header.lexer import Token


@dataclass(frozen=True, slots=True)
class Number:
    """An integer literal."""

    text: str
    at: Token


@dataclass(frozen=True, slots=True)
class Character:
    """A character constant, with its quotes."""

    text: str
    at: Token


@dataclass(frozen=True, slots=True)
class String:
    """String literals that stand together; the inside of each, escapes as written."""

    parts: tuple[str, ...]
    at: Token


@dataclass(frozen=True, slots=True)
class Name:
    """An identifier: an enumerator, a parameter, or something that headers do not define."""

    name: str
    at: Token


@dataclass(frozen=True, slots=True)
class Unary:
    """`operator` is one of + - ~ ! & *."""

    operator: str
    operand: Expression
    at: Token


@dataclass(frozen=True, slots=True)
class Binary:
    """`operator` is any of C's with two operands, `&&`, `||` and `,` among them."""

    operator: str
    left: Expression
    right: Expression
    at: Token


@dataclass(frozen=True, slots=True)
class Conditional:
    """condition ? then : otherwise; `then` is None for the GNU form without it."""

    condition: Expression
    then: Expression | None
    otherwise: Expression
    at: Token


@dataclass(frozen=True, slots=True)
class Cast:
    """(type) operand."""

    type: TypeSyntax
    operand: Expression
    at: Token


@dataclass(frozen=True, slots=True)
class TypeQuery:
    """sizeof or _Alignof (`query`) of a type or, for sizeof, of an expression."""

    query: str
    subject: TypeSyntax | Expression
    at: Token


@dataclass(frozen=True, slots=True)
class OffsetOf:
    """offsetof(type, path); the path's parts are field names, or expressions that index arrays."""

    type: TypeSyntax
    path: tuple[str | Expression, ...]
    at: Token


@dataclass(frozen=True, slots=True)
class Call:
    """A call, or a macro call that nothing defines."""

    function: Expression
    arguments: tuple[Expression | TypeSyntax, ...]
    at: Token


@dataclass(frozen=True, slots=True)
class NotSimple:
    """Something that C allows and that is no constant; `reason` names it."""

    reason: str
    at: Token


@dataclass(frozen=True, slots=True)
class Assignment:
    """A local variable set, in a block: to `value` (operator "=") or with one (operator "|").

    `type` is its declared type, None where it was declared before.
    """

    name: str
    type: TypeSyntax | None
    operator: str
    value: Expression
    at: Token


@dataclass(frozen=True, slots=True)
class Block:
    """A GNU statement expression of assignments; its value is that of `result`."""

    assignments: tuple[Assignment, ...]
    result: Expression
    at: Token


Expression: TypeAlias = (
    Number
    | Character
    | String
    | Name
    | Unary
    | Binary
    | Conditional
    | Cast
    | TypeQuery
    | OffsetOf
    | Call
    | Block
    | NotSimple
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One GCC attribute, its name without the underscores around it ("aligned")."""

    name: str
    arguments: tuple[Expression, ...]
    at: Token


@dataclass(frozen=True, slots=True)
class Basic:
    """A type of the language itself by its usual name ("unsigned long long", "void")."""

    name: str


@dataclass(frozen=True, slots=True)
class TypedefName:
    """A type by the name that a typedef gave it."""

    name: str
    at: Token


@dataclass(frozen=True, slots=True)
class FieldSyntax:
    """A member; `name` is None for an anonymous record and for an unnamed bit-field."""

    name: str | None
    type: TypeSyntax
    width: Expression | None
    attributes: tuple[Attribute, ...]
    at: Token


@dataclass(frozen=True, slots=True)
class RecordSyntax:
    """A struct or union; `fields` is None where it is only named and not defined."""

    kind: str
    tag: str | None
    fields: tuple[FieldSyntax, ...] | None
    attributes: tuple[Attribute, ...]
    at: Token


@dataclass(frozen=True, slots=True)
class EnumeratorSyntax:
    """An enumerator; without `value` it is one more than the one before."""

    name: str
    value: Expression | None
    at: Token


@dataclass(frozen=True, slots=True)
class EnumSyntax:
    """An enum; `enumerators` is None where it is only named."""

    tag: str | None
    enumerators: tuple[EnumeratorSyntax, ...] | None
    attributes: tuple[Attribute, ...]
    at: Token


@dataclass(frozen=True, slots=True)
class PointerSyntax:
    """A pointer to `target`."""

    target: TypeSyntax


@dataclass(frozen=True, slots=True)
class ArraySyntax:
    """An array; `size` is None for `[]`."""

    element: TypeSyntax
    size: Expression | None
    at: Token


@dataclass(frozen=True, slots=True)
class FunctionSyntax:
    """A function type; its parameters matter to no layout and are not kept."""

    returns: TypeSyntax


@dataclass(frozen=True, slots=True)
class AlignedSyntax:
    """A type with attributes of its own (`__u64 __attribute__((aligned(8)))`)."""

    type: TypeSyntax
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class UnknownType:
    """A type that this parser cannot know (`typeof(x)`); `reason` says what it is."""

    reason: str
    at: Token


TypeSyntax: TypeAlias = (
    Basic
    | TypedefName
    | RecordSyntax
    | EnumSyntax
    | PointerSyntax
    | ArraySyntax
    | FunctionSyntax
    | AlignedSyntax
    | UnknownType
)
