"""Tokens -> expressions: C's constants, and enough of the others to say what they are."""

from __future__ import annotations

from typing import Final

from kvmabi.header import syntax
from kvmabi.header.cursor import TokenCursor
from kvmabi.header.lexer import CHAR, IDENT, NUMBER, PUNCT, STRING

_PRECEDENCE: Final = {
    "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, ">": 7, "<=": 7, ">=": 7,
    "<<": 8, ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10,
}  # fmt: skip
_UNARY: Final = frozenset("+-~!&*")
_SIZES: Final = {
    "sizeof": "sizeof",
    "_Alignof": "_Alignof",
    "__alignof__": "__alignof__",
    "__alignof": "__alignof__",
}
_OFFSETS: Final = frozenset({"offsetof", "__builtin_offsetof"})


class ExpressionParser(TokenCursor):
    """Reads expressions; a subclass adds types."""

    __slots__ = ()

    # Types: only a declaration parser knows them.

    def at_type(self, ahead: int = 0) -> bool:
        """Whether a type name comes next."""
        return False

    def type_name(self) -> syntax.TypeSyntax:
        """type-name: specifiers abstract-declarator?"""
        self.fail("expected no type here")

    def block(self) -> syntax.Expression:
        """block: "({" … "})" """
        at = self.at
        self.skip_balanced()
        return syntax.NotSimple("a statement expression", at)

    # Expressions.

    def comma_expression(self) -> syntax.Expression:
        """expression: conditional ("," conditional)*"""
        left = self.expression()
        while self.peek() == ",":
            at = self.take()
            left = syntax.Binary(",", left, self.expression(), at)
        return left

    def expression(self) -> syntax.Expression:
        """conditional: binary ("?" expression? ":" conditional)?"""
        condition = self._binary(1)
        if self.peek() != "?":
            return condition
        at = self.take()
        self.deeper()
        then = None if self.peek() == ":" else self.comma_expression()
        self.expect(":")
        otherwise = self.expression()
        self.higher()
        return syntax.Conditional(condition, then, otherwise, at)

    def _binary(self, lowest: int) -> syntax.Expression:
        """binary: unary (operator unary)*, by precedence."""
        left = self._unary()
        while True:
            operator = self.peek()
            precedence = _PRECEDENCE.get(operator, 0)
            if precedence < lowest or self.peek_kind() != PUNCT:
                return left
            at = self.take()
            right = self._binary(precedence + 1)
            left = syntax.Binary(operator, left, right, at)

    def _unary(self) -> syntax.Expression:
        """unary: prefix* (sizeof | cast | primary)"""
        token = self.at
        text = self.peek()
        if text in _UNARY and token.kind == PUNCT:
            self.take()
            self.deeper()
            operand = self._unary()
            self.higher()
            return syntax.Unary(text, operand, token)
        if text in _SIZES:
            return self._size_query(_SIZES[text])
        if text in _OFFSETS and self.peek(1) == "(":
            return self._offset_of()
        if text == "__extension__":
            self.take()
            return self._unary()
        if text == "(" and self.at_type(1):
            return self._cast()
        return self._postfix(self._primary())

    def _size_query(self, query: str) -> syntax.Expression:
        """size-query: ("sizeof" | "_Alignof") ("(" type-name ")" | unary)"""
        at = self.take()
        self.deeper()
        subject: syntax.TypeSyntax | syntax.Expression
        if self.peek() == "(" and self.at_type(1):
            self.take()
            subject = self.type_name()
            self.expect(")")
        else:
            subject = self._unary()
        self.higher()
        return syntax.TypeQuery(query, subject, at)

    def _offset_of(self) -> syntax.Expression:
        """offset-of: "offsetof" "(" type-name "," name ("." name | "[" expression "]")* ")" """
        at = self.take()
        self.expect("(")
        if not self.at_type():
            self.fail("expected a type")
        kind = self.type_name()
        self.expect(",")
        path: list[str | syntax.Expression] = [self._identifier()]
        while not self.accept(")"):
            if self.accept("."):
                path.append(self._identifier())
            else:
                self.expect("[")
                path.append(self.comma_expression())
                self.expect("]")
        return syntax.OffsetOf(kind, tuple(path), at)

    def _identifier(self) -> str:
        if self.peek_kind() != IDENT:
            self.fail("expected a name")
        return self.take().text

    def _cast(self) -> syntax.Expression:
        """cast: "(" type-name ")" (unary | "{" … "}")"""
        at = self.take()
        self.deeper()
        kind = self.type_name()
        self.expect(")")
        if self.peek() == "{":
            self.skip_balanced()
            self.higher()
            return syntax.NotSimple("a compound literal", at)
        operand = self._unary()
        self.higher()
        return syntax.Cast(kind, operand, at)

    def _primary(self) -> syntax.Expression:
        """primary: number | character | string+ | name | "(" expression ")" | "({" … "})" """
        token = self.at
        if token.kind == NUMBER:
            return syntax.Number(self.take().text, token)
        if token.kind == IDENT:
            return syntax.Name(self.take().text, token)
        if token.kind == CHAR:
            return syntax.Character(self.take().text, token)
        if token.kind == STRING:
            return self._string()
        if self.peek() == "(" and self.peek(1) == "{":
            return self.block()
        if not self.accept("("):
            self.fail("expected an expression")
        self.deeper()
        inner = self.comma_expression()
        self.expect(")")
        self.higher()
        return inner

    def _string(self) -> syntax.Expression:
        at = self.at
        parts = []
        while self.peek_kind() == STRING:
            text = self.take().text
            if not text.startswith('"'):
                return syntax.NotSimple("a wide string", at)
            parts.append(text[1:-1])
        return syntax.String(tuple(parts), at)

    def _postfix(self, operand: syntax.Expression) -> syntax.Expression:
        """postfix: primary ("(" arguments ")" | "[" … "]" | "." name | "->" name | "++" | "--")*"""
        while self.peek_kind() == PUNCT:
            at = self.at
            if self.peek() == "(":
                operand = syntax.Call(operand, self._call_arguments(), at)
            elif self.peek() == "[":
                self.skip_balanced()
                operand = syntax.NotSimple("an array element", at)
            elif self.peek() in (".", "->"):
                self.take()
                operand = syntax.NotSimple(f"the field {self._identifier()} of an object", at)
            elif self.peek() in ("++", "--"):
                self.take()
                operand = syntax.NotSimple("an assignment", at)
            else:
                break
        return operand

    def _call_arguments(self) -> tuple[syntax.Expression | syntax.TypeSyntax, ...]:
        """arguments: ((expression | type-name) ("," (expression | type-name))*)?"""
        self.expect("(")
        self.deeper()
        arguments: list[syntax.Expression | syntax.TypeSyntax] = []
        while not self.accept(")"):
            if arguments:
                self.expect(",")
            arguments.append(self.type_name() if self.at_type() else self.expression())
        self.higher()
        return tuple(arguments)


def parse_expression(parser: ExpressionParser) -> syntax.Expression:
    """The expression that all of the parser's tokens make; HeaderError if anything is left."""
    result = parser.comma_expression()
    if not parser.done:
        parser.fail("expected nothing more")
    return result
