"""Expressions -> values, by C's rules; what names and types mean is the caller's `Scope`."""

from __future__ import annotations

from typing import Protocol

from kvmabi.header import syntax
from kvmabi.header.integers import (
    INT,
    ULONG,
    CInteger,
    IntegerType,
    NotConstant,
    binary,
    character,
    common_type,
    literal,
    promote,
    unary,
)


class Scope(Protocol):
    """What an expression is evaluated in; each method raises NotConstant where it has no answer."""

    char_signed: bool

    def name(self, name: syntax.Name) -> CInteger:
        """The value of an identifier."""

    def integer_type(self, type_: syntax.TypeSyntax) -> IntegerType:
        """The integer type that a cast goes to."""

    def size_of(self, type_: syntax.TypeSyntax) -> int:
        """Size in bytes."""

    def alignment_of(self, type_: syntax.TypeSyntax) -> int:
        """Alignment in bytes."""

    def offset_of(self, query: syntax.OffsetOf) -> int:
        """Offset in bytes."""

    def call(self, call: syntax.Call) -> CInteger:
        """The value of a call, for calls that are constants."""


def evaluate(expression: syntax.Expression, scope: Scope) -> CInteger:
    """The value of a constant expression; NotConstant with the reason if it has none."""
    match expression:
        case syntax.Number(text=text):
            return literal(text)
        case syntax.Name():
            return scope.name(expression)
        case syntax.Binary():
            return _binary(expression, scope)
        case syntax.Unary(operator=operator, operand=operand):
            if operator in "&*":
                raise NotConstant(f"the operator {operator} needs an object")
            return unary(operator, evaluate(operand, scope))
        case syntax.Conditional():
            return _conditional(expression, scope)
        case syntax.Cast(type=type_, operand=operand):
            return evaluate(operand, scope).cast(scope.integer_type(type_))
        case syntax.Character(text=text):
            return character(text, char_signed=scope.char_signed)
        case syntax.TypeQuery():
            return CInteger(_query(expression, scope), ULONG)
        case syntax.OffsetOf():
            return CInteger(scope.offset_of(expression), ULONG)
        case syntax.Call():
            return scope.call(expression)
        case syntax.String():
            raise NotConstant("a string")
        case syntax.Block():
            raise NotConstant("a statement expression")
        case syntax.NotSimple(reason=reason):
            raise NotConstant(reason)


def _binary(expression: syntax.Binary, scope: Scope) -> CInteger:
    # Long sums lean to the left; that side is walked, not recursed into.
    chain = [expression]
    while isinstance(chain[-1].left, syntax.Binary):
        chain.append(chain[-1].left)
    value = evaluate(chain[-1].left, scope)
    for link in reversed(chain):
        value = _operate(link.operator, value, link.right, scope)
    return value


def _operate(operator: str, left: CInteger, right: syntax.Expression, scope: Scope) -> CInteger:
    if operator in ("&&", "||"):
        if (left.value != 0) == (operator == "||"):
            return CInteger(int(operator == "||"), INT)
        return CInteger(int(evaluate(right, scope).value != 0), INT)
    if operator == ",":
        raise NotConstant("the comma operator")
    return binary(operator, left, evaluate(right, scope))


def _conditional(expression: syntax.Conditional, scope: Scope) -> CInteger:
    condition = evaluate(expression.condition, scope)
    taken = expression.then if condition.value else expression.otherwise
    other = expression.otherwise if condition.value else expression.then
    result = promote(condition if taken is None else evaluate(taken, scope))
    try:
        unused = promote(condition if other is None else evaluate(other, scope))
    except NotConstant:
        return result
    return result.cast(common_type(result.type, unused.type))


def _query(expression: syntax.TypeQuery, scope: Scope) -> int:
    subject = expression.subject
    if isinstance(subject, syntax.Expression):
        if isinstance(subject, syntax.String):
            raise NotConstant("the size of a string")
        return evaluate(subject, scope).type.bits // 8
    if expression.query == "sizeof":
        return scope.size_of(subject)
    return scope.alignment_of(subject)
