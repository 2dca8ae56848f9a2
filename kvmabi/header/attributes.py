"""Tokens -> GCC attributes, and `_Alignas`."""

from __future__ import annotations

from kvmabi.header import syntax
from kvmabi.header.expressions import ExpressionParser
from kvmabi.header.lexer import IDENT, NUMBER, STRING, Token
from kvmabi.header.specifiers import ALIGN_WORDS, ATTRIBUTE_WORDS


class AttributeParser(ExpressionParser):
    """Reads attributes wherever a declaration may have them."""

    __slots__ = ()

    def attributes(self) -> list[syntax.Attribute]:
        """attribute: "__attribute__" "((" (attribute ("," attribute)*)? "))" | alignas"""
        found: list[syntax.Attribute] = []
        while self.peek() in ATTRIBUTE_WORDS or self.peek() in ALIGN_WORDS:
            word = self.take()
            if word.text in ALIGN_WORDS:
                found.append(self._alignas(word))
                continue
            self.expect("(")
            self.expect("(")
            while self.peek() != ")":
                if not self.accept(","):
                    found.append(self._attribute())
            self.expect(")")
            self.expect(")")
        return found

    def _attribute(self) -> syntax.Attribute:
        at = self.take()
        if at.kind != IDENT:
            raise at.error("expected an attribute")
        arguments: tuple[syntax.Expression, ...] = ()
        name = at.text.strip("_") if at.text.startswith("__") else at.text
        if self.peek() == "(":
            if name == "aligned":
                self.take()
                arguments = (self.expression(),)
                self.expect(")")
            else:
                arguments = self._loose_arguments()
        return syntax.Attribute(name, arguments, at)

    def _loose_arguments(self) -> tuple[syntax.Expression, ...]:
        if self.peek_kind(1) in (IDENT, STRING, NUMBER) and self.peek(2) == ")":
            self.take()
            argument = self._primary()
            self.expect(")")
            return (argument,)
        at = self.at
        self.skip_balanced()
        return (syntax.NotSimple("an attribute's arguments", at),)

    def _alignas(self, word: Token) -> syntax.Attribute:
        self.expect("(")
        argument: syntax.Expression
        if self.at_type():
            argument = syntax.TypeQuery("_Alignof", self.type_name(), word)
        else:
            argument = self.expression()
        self.expect(")")
        return syntax.Attribute("aligned", (argument,), word)
