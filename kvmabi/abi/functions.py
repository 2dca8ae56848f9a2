"""Function-like macros -> Python functions with C's arithmetic, where they are pure.

An argument is taken as `__u64`, or as the path of a field where the macro hands it to offsetof.
What the macro computes has the type that C gives it, and wraps as that does. A macro that is no
such function is opaque, with its reason.
"""

from __future__ import annotations

import dataclasses
import keyword
from dataclasses import dataclass
from typing import Final, Protocol

from kvmabi.abi.constants import TypeScope
from kvmabi.abi.model import Function, FunctionMacro, Record
from kvmabi.abi.names import is_usable
from kvmabi.abi.types import spell
from kvmabi.errors import HeaderError
from kvmabi.header import syntax
from kvmabi.header.declarations import DeclarationParser
from kvmabi.header.evaluate import Scope, evaluate
from kvmabi.header.expressions import parse_expression
from kvmabi.header.integers import (
    INT,
    ULLONG,
    ULONG,
    CInteger,
    IntegerType,
    NotConstant,
    binary,
    common_type,
    unary,
)
from kvmabi.header.unit import PARAMETER, MacroSyntax

_MAX_TEXT: Final = 4_000
_COMPARISONS: Final = frozenset({"<", ">", "<=", ">=", "==", "!="})


@dataclass(frozen=True, slots=True)
class _Code:
    """A Python expression and its C type; `value` is what it is where that is known."""

    text: str
    type: IntegerType
    value: int | None = None

    def converted(self, to: IntegerType) -> _Code:
        if self.value is not None:
            return _constant(CInteger(to.wrap(self.value), to))
        if to is self.type or _holds(to, self.type):
            return _Code(self.text, to)
        return _Code(_wrapped(self.text, to), to)

    def promoted(self) -> _Code:
        return self.converted(INT) if self.type.rank < INT.rank else self


def _constant(value: CInteger) -> _Code:
    text = hex(value.value) if value.value > 9 else str(value.value)
    return _Code(text if value.value >= 0 else f"({text})", value.type, value.value)


def _holds(wide: IntegerType, narrow: IntegerType) -> bool:
    if narrow.signed:
        return wide.signed and wide.bits >= narrow.bits
    return wide.bits - wide.signed >= narrow.bits


def _wrapped(text: str, kind: IntegerType) -> str:
    if kind.bits == 1:
        return f"int({text} != 0)"
    if kind.signed:
        return f"_signed({text}, {kind.bits})"
    return f"({text} & {(1 << kind.bits) - 1:#x})"


def _checked(code: _Code) -> _Code:
    """The same code; NotConstant where it has grown beyond what a macro needs."""
    if len(code.text) > _MAX_TEXT:
        raise NotConstant("too long an expression")
    return code


class FunctionScope(TypeScope, Scope, Protocol):
    """What a macro's body may use: constants and types."""


def with_function(
    macro: FunctionMacro, text: MacroSyntax, scope: FunctionScope, typedefs: set[str]
) -> FunctionMacro:
    """The macro with the function that it is, or with the reason why it is none."""
    try:
        return dataclasses.replace(macro, function=translate(text, scope, typedefs))
    except NotConstant as problem:
        return dataclasses.replace(macro, reason=str(problem))


def translate(macro: MacroSyntax, scope: FunctionScope, typedefs: set[str]) -> Function:
    """The function that a function-like macro is; NotConstant with the reason if it is none."""
    if macro.problem:
        raise NotConstant(macro.problem)
    if not macro.expanded:
        raise NotConstant("it stands for nothing")
    tokens = list(macro.expanded)
    try:
        expression = parse_expression(DeclarationParser(tokens, tokens[-1], typedefs))
    except HeaderError as error:
        raise NotConstant(f"no expression: {_readable(error.message)}") from None
    if isinstance(expression, syntax.Name) and expression.name in macro.arguments:
        raise NotConstant("it stands for its argument, whatever that is")
    writer = _Writer(macro, scope)
    try:
        code = writer.write(expression)
    except RecursionError:
        raise NotConstant("too long an expression") from None
    except NotConstant as problem:
        raise NotConstant(_readable(str(problem))) from None
    names = [_plain(name) for name in macro.arguments]
    if not all(map(is_usable, names)) or len({*names, *writer.records}) < len(names) + len(
        set(writer.records)
    ):
        raise NotConstant("Python cannot have its parameters' names")
    kinds = tuple((_plain(name), writer.kinds.get(name, "int")) for name in macro.arguments)
    return Function(kinds, code.text, code.type.name, tuple(writer.records), writer.constant)


def _plain(name: str) -> str:
    plain = name.removeprefix(PARAMETER)
    return f"{plain}_" if keyword.iskeyword(plain) else plain


def _readable(text: str) -> str:
    return text.replace(PARAMETER, "")


class _Writer:
    """Writes one macro; `kinds` are the parameters' Python types as far as they are used."""

    def __init__(self, macro: MacroSyntax, scope: FunctionScope) -> None:
        self._parameters = macro.arguments
        self._scope = scope
        self._locals: dict[str, _Code] = {}
        self.kinds: dict[str, str] = {}
        self.records: list[str] = []
        self.constant = True

    def write(self, expression: syntax.Expression) -> _Code:
        """The Python of an expression; NotConstant if it has none."""
        return _checked(self._write(expression))

    def _write(self, expression: syntax.Expression) -> _Code:
        match expression:
            case syntax.Name(name=name):
                return self._name(name, expression)
            case syntax.Binary(operator=operator, left=left, right=right):
                return self._binary(operator, self.write(left), self.write(right))
            case syntax.Unary(operator=operator, operand=operand) if operator in "+-~!":
                return self._unary(operator, self.write(operand))
            case syntax.Conditional(condition=condition, then=then, otherwise=otherwise):
                first = self.write(condition)
                taken = first if then is None else self.write(then)
                return self._conditional(first, taken, self.write(otherwise))
            case syntax.Cast(type=type_, operand=operand):
                return self.write(operand).converted(self._scope.integer_type(type_))
            case syntax.OffsetOf(type=type_, path=(str(path),)) if path in self._parameters:
                return self._offset(type_, path)
            case syntax.Block():
                return self._block(expression)
            case syntax.Call(function=syntax.Name(name=name)):
                raise NotConstant(f"a call of {name}")
            case _:
                return _constant(evaluate(expression, self._scope))

    def _name(self, name: str, expression: syntax.Name) -> _Code:
        if name in self._locals:
            return self._locals[name]
        if name in self._parameters:
            self._use(name, "int")
            return _Code(_plain(name), ULLONG)
        if PARAMETER in name:
            raise NotConstant(f"a parameter is pasted into a name ({name})")
        return _constant(evaluate(expression, self._scope))

    def _use(self, name: str, kind: str) -> None:
        if self.kinds.setdefault(name, kind) != kind:
            raise NotConstant(f"{name} is both a number and a field")

    def _offset(self, type_: syntax.TypeSyntax, path: str) -> _Code:
        record = self._scope.complete(type_)
        if not isinstance(record, Record):
            raise NotConstant(f"{spell(type_)} has no fields")
        self._use(path, "str")
        self.records.append(record.name)
        return _Code(f"_offset_of({record.name}, {_plain(path)})", ULONG)

    def _block(self, block: syntax.Block) -> _Code:
        self.constant = False
        outer = dict(self._locals)
        for item in block.assignments:
            value = self.write(item.value)
            if item.type is not None:
                self._locals[item.name] = value.converted(self._scope.integer_type(item.type))
                continue
            before = self._locals.get(item.name)
            if before is None:
                raise NotConstant(f"an assignment to {item.name}")
            if item.operator != "=":
                value = self._binary(item.operator, before, value)
            self._locals[item.name] = _checked(value.converted(before.type))
        result = self.write(block.result)
        self._locals = outer
        return result

    # Operators.

    def _unary(self, operator: str, operand: _Code) -> _Code:
        if operand.value is not None:
            return _constant(unary(operator, CInteger(operand.value, operand.type)))
        if operator == "!":
            return _Code(f"int({operand.text} == 0)", INT)
        operand = operand.promoted()
        if operator == "+":
            return operand
        return _Code(_wrapped(f"({operator}{operand.text})", operand.type), operand.type)

    def _conditional(self, condition: _Code, then: _Code, otherwise: _Code) -> _Code:
        then, otherwise = then.promoted(), otherwise.promoted()
        kind = common_type(then.type, otherwise.type)
        if condition.value is not None:
            return (then if condition.value else otherwise).converted(kind)
        parts = (then.converted(kind).text, condition.text, otherwise.converted(kind).text)
        return _Code("({} if {} else {})".format(*parts), kind)

    def _binary(self, operator: str, left: _Code, right: _Code) -> _Code:
        if operator in ("&&", "||"):
            word = "and" if operator == "&&" else "or"
            return _Code(f"int({left.text} != 0 {word} {right.text} != 0)", INT)
        if operator == ",":
            raise NotConstant("the comma operator")
        left, right = left.promoted(), right.promoted()
        if left.value is not None and right.value is not None:
            values = (CInteger(left.value, left.type), CInteger(right.value, right.type))
            return _constant(binary(operator, *values))
        if operator in ("<<", ">>"):
            return _shift(operator, left, right)
        kind = common_type(left.type, right.type)
        return _arithmetic(operator, left.converted(kind), right.converted(kind), kind)


def _shift(operator: str, left: _Code, right: _Code) -> _Code:
    bits = left.type.bits
    if right.value is not None and not 0 <= right.value < bits:
        raise NotConstant(f"a shift by {right.value} is undefined for {left.type.name}")
    count = right.text if right.value is not None else f"_count({right.text}, {bits})"
    text = f"({left.text} {operator} {count})"
    return _Code(text if operator == ">>" else _wrapped(text, left.type), left.type)


def _arithmetic(operator: str, left: _Code, right: _Code, kind: IntegerType) -> _Code:
    if operator in _COMPARISONS:
        return _Code(f"int({left.text} {operator} {right.text})", INT)
    text = f"({left.text} {operator} {right.text})"
    if operator in ("&", "|", "^"):
        return _Code(text, kind)
    if operator in ("/", "%"):
        if not kind.signed and right.value:
            symbol = "//" if operator == "/" else "%"
            return _Code(f"({left.text} {symbol} {right.text})", kind)
        name = "_divide" if operator == "/" else "_remainder"
        return _Code(_wrapped(f"{name}({left.text}, {right.text})", kind), kind)
    return _Code(_wrapped(text, kind), kind)
