"""Macros -> numbers, strings and ioctls; and for each that is none of them, why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from kvmabi.abi.model import FunctionMacro, Ioctl, Macro, Opaque, Type
from kvmabi.abi.types import spell
from kvmabi.arch import Architecture
from kvmabi.errors import HeaderError
from kvmabi.header import HeaderSyntax, MacroSyntax, syntax
from kvmabi.header.declarations import DeclarationParser
from kvmabi.header.evaluate import Scope, evaluate
from kvmabi.header.expressions import parse_expression
from kvmabi.header.integers import CInteger, NotConstant, characters, literal
from kvmabi.header.lexer import IDENT, NUMBER, spelling

if TYPE_CHECKING:
    from collections.abc import Collection

Direction = Literal["", "R", "W", "RW"]

IOCTL_MACROS: Final[dict[str, Direction]] = {
    "_IO": "",
    "_IOR": "R",
    "_IOW": "W",
    "_IOWR": "RW",
    "_IOR_BAD": "R",
    "_IOW_BAD": "W",
    "_IOWR_BAD": "RW",
}


class TypeScope(Scope, Protocol):
    """A scope that also gives types with layouts."""

    def complete(self, type_: syntax.TypeSyntax) -> Type:
        """The type, which must have a layout."""

    @property
    def types(self) -> _HasArchitecture:
        """Where the types are."""

    @property
    def functions(self) -> Collection[str]:
        """The names of the function-like macros that the headers define."""


class _HasArchitecture(Protocol):
    @property
    def architecture(self) -> Architecture:
        """The architecture that the types are for."""


@dataclass(frozen=True, slots=True)
class _IoctlParts:
    direction: Direction
    type: int
    nr: int
    size: int
    argument: str | None
    argument_type: Type | None
    number: int


def ioctl_of_call(call: syntax.Call, scope: TypeScope) -> _IoctlParts:
    """What `_IOW(type, nr, argument)` and its like make; NotConstant for any other call."""
    name = call.function.name if isinstance(call.function, syntax.Name) else ""
    if name not in IOCTL_MACROS or name not in scope.functions:
        raise NotConstant(f"{name}() is not defined by these headers" if name else "a call")
    direction = IOCTL_MACROS[name]
    if len(call.arguments) != (3 if direction else 2):
        raise NotConstant(f"{name} with {len(call.arguments)} arguments")
    type_, nr = (_integer(argument, scope) for argument in call.arguments[:2])
    argument_type: Type | None = None
    argument: str | None = None
    size = 0
    if direction:
        subject = call.arguments[2]
        if isinstance(subject, syntax.Expression):
            raise NotConstant(f"the third argument of {name} is no type")
        argument_type = scope.complete(subject)
        argument = spell(subject)
        size = scope.size_of(subject)
    encoding = scope.types.architecture.ioctl
    bits = sum(
        bit for letter, bit in (("R", encoding.read), ("W", encoding.write)) if letter in direction
    )
    try:
        number = encoding.number(bits or encoding.none, type_, nr, size)
    except ValueError as problem:
        raise NotConstant(str(problem)) from None
    return _IoctlParts(direction, type_, nr, size, argument, argument_type, number)


def _integer(argument: syntax.Expression | syntax.TypeSyntax, scope: Scope) -> int:
    if not isinstance(argument, syntax.Expression):
        raise NotConstant("a type where a number is expected")
    return evaluate(argument, scope).value


class ConstantTable:
    """All macros of a set of headers, sorted into what they are."""

    def __init__(self, header: HeaderSyntax, scope: TypeScope) -> None:
        self._header = header
        self._scope = scope
        self._typedefs = set(header.typedefs)
        self.macros: dict[str, Macro] = {}
        self.functions: dict[str, FunctionMacro] = {}
        self.ioctls: dict[str, Ioctl] = {}
        self.opaque: dict[str, Opaque] = {}

    def read_all(self) -> None:
        """Sort every macro of the headers."""
        for macro in self._header.macros.values():
            origin = macro.at.file.name
            if macro.parameters is not None:
                self.functions[macro.name] = FunctionMacro(
                    macro.name, macro.parameters, macro.variadic, spelling(macro.body), origin
                )
                continue
            try:
                self._read(macro, origin)
            except NotConstant as problem:
                reason = str(problem)
                kind = "ioctl" if _looks_like_ioctl(macro) else "macro"
                self.macros[macro.name] = Macro(macro.name, "opaque", origin, reason=reason)
                self.opaque[macro.name] = Opaque(macro.name, kind, reason, origin)

    def _read(self, macro: MacroSyntax, origin: str) -> None:
        if macro.problem:
            raise NotConstant(macro.problem)
        name = macro.name
        if not macro.expanded:
            self.macros[name] = Macro(name, "empty", origin)
            return
        expression: syntax.Expression | None = None
        if len(macro.expanded) == 1 and macro.expanded[0].kind == NUMBER:
            value = literal(macro.expanded[0].text)
        else:
            expression = self._parse(macro)
            if isinstance(expression, syntax.String):
                self.macros[name] = Macro(name, "string", origin, _string(expression))
                return
            if isinstance(expression, syntax.Call):
                self._add_ioctl(name, expression, origin)
                return
            value = evaluate(expression, self._scope)
        self.macros[name] = self._integer(macro, value, origin)

    def _add_ioctl(self, name: str, call: syntax.Call, origin: str) -> None:
        parts = ioctl_of_call(call, self._scope)
        self.ioctls[name] = Ioctl(
            name,
            parts.direction,
            parts.type,
            parts.nr,
            parts.size,
            parts.argument,
            parts.argument_type,
            parts.number,
            origin,
        )

    def _integer(self, macro: MacroSyntax, value: CInteger, origin: str) -> Macro:
        alias = None
        if len(macro.body) == 1 and macro.body[0].kind == IDENT:
            alias = macro.body[0].text
        return Macro(
            macro.name,
            "int",
            origin,
            value=value.value,
            c_type=value.type.name,
            alias_of=alias,
            hexadecimal=_written_as_bits(macro),
        )

    def _parse(self, macro: MacroSyntax) -> syntax.Expression:
        tokens = list(macro.expanded)
        parser = DeclarationParser(tokens, tokens[-1], self._typedefs)
        try:
            return parse_expression(parser)
        except HeaderError as error:
            raise NotConstant(f"no expression: {error.message}") from None


def _looks_like_ioctl(macro: MacroSyntax) -> bool:
    return bool(macro.expanded) and macro.expanded[0].text in IOCTL_MACROS


def _written_as_bits(macro: MacroSyntax) -> bool:
    return any(token.text[:2] in ("0x", "0X", "<<") for token in macro.expanded)


def _string(expression: syntax.String) -> str:
    codes = [code for part in expression.parts for code in characters(part)]
    return bytes(codes).decode("utf-8", "replace")
