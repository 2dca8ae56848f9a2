"""Tokens -> GNU statement expressions, as far as they are local variables and assignments."""

from __future__ import annotations

from typing import Final

from kvmabi.errors import HeaderError
from kvmabi.header import syntax
from kvmabi.header.lexer import IDENT
from kvmabi.header.types import TypeParser

_ASSIGNMENTS: Final = frozenset({"=", "|=", "&=", "^=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>="})


class StatementParser(TypeParser):
    """Reads types and expressions, with blocks inside of those."""

    __slots__ = ()

    def block(self) -> syntax.Expression:
        """block: "({" (assignment ";" | ";")* expression ";"+ "})" """
        at, start, depth = self.at, self._next, self._depth
        try:
            return self._block()
        except HeaderError:
            self._next, self._depth = start, depth
            self.skip_balanced()
            return syntax.NotSimple("a statement expression", at)

    def _block(self) -> syntax.Expression:
        at = self.take()
        self.expect("{")
        self.deeper()
        assignments: list[syntax.Assignment] = []
        result: syntax.Expression | None = None
        while not self.accept("}"):
            if self.accept(";"):
                continue
            if result is not None:
                self.fail("expected nothing behind the value of a block")
            if self.at_type() or self.peek(1) in _ASSIGNMENTS:
                assignments.append(self._assignment())
            else:
                result = self.comma_expression()
            self.expect(";")
        self.expect(")")
        self.higher()
        if result is None:
            self.fail("a block without a value")
        return syntax.Block(tuple(assignments), result, at)

    def _assignment(self) -> syntax.Assignment:
        """assignment: specifiers declarator "=" expression | name operator expression"""
        if not self.at_type():
            at = self.take()
            if at.kind != IDENT:
                self.fail("expected a variable")
            operator = self.take().text[:-1] or "="
            return syntax.Assignment(at.text, None, operator, self.expression(), at)
        specifiers = self.specifiers()
        declarator = self.declarator(specifiers.type)
        if declarator.name is None or declarator.attributes or specifiers.attributes:
            self.fail("expected a variable")
        self.expect("=")
        return syntax.Assignment(
            declarator.name, declarator.type, "=", self.expression(), declarator.at
        )
