"""Tokens -> declarations: what a header declares, one behind the other.

The docstring of each method is the grammar rule that it reads. Functions are passed over, bodies
and all.
"""

from __future__ import annotations

from kvmabi.header import syntax
from kvmabi.header.lexer import Token
from kvmabi.header.specifiers import ASM_WORDS, STATIC_ASSERTS
from kvmabi.header.statements import StatementParser
from kvmabi.header.types import Declarator, Specifiers
from kvmabi.header.unit import Declaration


class DeclarationParser(StatementParser):
    """Reads all declarations of a preprocessed text; `typedefs` are the type names known so far."""

    __slots__ = ("declarations",)

    def __init__(self, tokens: list[Token], end: Token, typedefs: set[str] | None = None) -> None:
        super().__init__(tokens, end, typedefs)
        self.declarations: list[Declaration] = []

    def parse(self) -> tuple[Declaration, ...]:
        """unit: (external | ";")*"""
        while not self.done:
            if not self.accept(";"):
                self._external()
        return tuple(self.declarations)

    def _external(self) -> None:
        """external: static-assert | specifiers (declarator ("," declarator)*)? (";" | body)"""
        if self.peek() in STATIC_ASSERTS or self.peek() in ASM_WORDS:
            self.take()
            while self.peek() not in ("(", ""):
                self.take()
            self.skip_balanced()
            self.expect(";")
            return
        at = self.at
        specifiers = self.specifiers()
        if self.accept(";"):
            self._declare("type", None, specifiers.type, at)
            return
        while True:
            declarator = self.declarator(specifiers.type)
            self._declare_named(specifiers, declarator)
            if self.peek() == "{" and isinstance(declarator.type, syntax.FunctionSyntax):
                self.skip_balanced()
                return
            self._skip_initialiser()
            if not self.accept(","):
                break
        self.expect(";")

    def _declare_named(self, specifiers: Specifiers, declarator: Declarator) -> None:
        if declarator.name is None:
            raise declarator.at.error("this declares no name")
        kind = "typedef" if specifiers.typedef else "object"
        if specifiers.typedef:
            self.typedefs.add(declarator.name)
        attributes = specifiers.attributes + declarator.attributes
        type_ = syntax.AlignedSyntax(declarator.type, attributes) if attributes else declarator.type
        self._declare(kind, declarator.name, type_, declarator.at)

    def _declare(self, kind: str, name: str | None, type_: syntax.TypeSyntax, at: Token) -> None:
        self.declarations.append(Declaration(kind, name, type_, at))

    def _skip_initialiser(self) -> None:
        if not self.accept("="):
            return
        while self.peek() not in (",", ";", ""):
            if self.peek() in ("(", "[", "{"):
                self.skip_balanced()
            else:
                self.take()
