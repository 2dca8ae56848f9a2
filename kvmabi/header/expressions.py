"""Tokens -> expressions: C's constant expressions, and enough of the others to say what they are."""

from __future__ import annotations

from typing import Final, NoReturn

from kvmabi.header import syntax
from kvmabi.header.lexer import CHAR, IDENT, NUMBER, PUNCT, STRING, Token

MAX_DEPTH: Final = 50
"""Parentheses, records and declarators inside of each other."""

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


class ExpressionParser:
    """A cursor over tokens that reads expressions; a subclass adds types.

    `end` is the token that errors point to when the tokens run out.
    """

    __slots__ = ("_depth", "_end", "_next", "_tokens")

    def __init__(self, tokens: list[Token], end: Token) -> None:
        self._tokens = tokens
        self._next = 0
        self._end = end
        self._depth = 0

    # The cursor.

    @property
    def at(self) -> Token:
        """The token that comes next, or the last one there was."""
        return self._tokens[self._next] if self._next < len(self._tokens) else self._end

    @property
    def done(self) -> bool:
        """Whether every token was read."""
        return self._next >= len(self._tokens)

    def peek(self, ahead: int = 0) -> str:
        """The text of a token to come, "" behind the last. A string's text has its quotes."""
        index = self._next + ahead
        return self._tokens[index].text if index < len(self._tokens) else ""

    def peek_kind(self, ahead: int = 0) -> str:
        """The kind of a token to come, "" behind the last."""
        index = self._next + ahead
        return self._tokens[index].kind if index < len(self._tokens) else ""

    def take(self) -> Token:
        """The next token, read."""
        if self._next >= len(self._tokens):
            raise self._end.error("the text ends in the middle of something")
        token = self._tokens[self._next]
        self._next += 1
        return token

    def accept(self, text: str) -> bool:
        """Whether the next token is `text`; it is read if so."""
        if self.peek() != text:
            return False
        self._next += 1
        return True

    def expect(self, text: str) -> Token:
        """The next token, which must be `text`."""
        if self.peek() != text:
            self.fail(f"expected {text!r}")
        return self.take()

    def fail(self, message: str) -> NoReturn:
        """Raise a HeaderError for the next token."""
        found = repr(self.peek()[:60]) if not self.done else "the end"
        raise self.at.error(f"{message}, found {found}")

    def deeper(self) -> None:
        """Go one level down; HeaderError below `MAX_DEPTH`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.at.error(f"nested more than {MAX_DEPTH} deep")

    def higher(self) -> None:
        """Come back up one level."""
        self._depth -= 1

    def skip_balanced(self) -> None:
        """Read a bracket and all up to the one that closes it."""
        opened = [self.take()]
        closing = {"(": ")", "[": "]", "{": "}"}
        while opened:
            if self.done:
                raise opened[-1].error(f"this {opened[-1].text!r} is never closed")
            token = self.take()
            if token.kind != PUNCT:
                continue
            if token.text in closing:
                opened.append(token)
            elif token.text in closing.values():
                if token.text != closing[opened.pop().text]:
                    raise token.error(f"{token.text!r} closes nothing")

    # Types: only a declaration parser knows them.

    def at_type(self, ahead: int = 0) -> bool:
        """Whether a type name comes next."""
        return False

    def type_name(self) -> syntax.TypeSyntax:
        """type-name: specifiers abstract-declarator?"""
        self.fail("expected no type here")

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
            self.skip_balanced()
            return syntax.NotSimple("a statement expression", token)
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


