"""#if and its kin: which text counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kvmabi.header import syntax
from kvmabi.header.evaluate import evaluate
from kvmabi.header.expressions import ExpressionParser, parse_expression
from kvmabi.header.integers import LLONG, CInteger, IntegerType, NotConstant
from kvmabi.header.lexer import IDENT, NUMBER, Token

if TYPE_CHECKING:
    from kvmabi.header.macros import Expander

MAX_NESTED: Final = 200
WORDS: Final = frozenset({"if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif"})


@dataclass(slots=True)
class _Condition:
    """One #if: whether its text counts now, whether a branch of it did, whether #else was there."""

    at: Token
    active: bool
    taken: bool
    parent_active: bool
    closed: bool = False


class Conditions:
    """The conditions that are open in one file; `active` is whether the text there counts."""

    __slots__ = ("_expander", "_open", "active")

    def __init__(self, expander: Expander) -> None:
        self._expander = expander
        self._open: list[_Condition] = []
        self.active = True

    def close(self) -> None:
        """Note the end of the file; HeaderError if a condition is open."""
        if self._open:
            raise self._open[-1].at.error("this condition is never closed")

    def directive(self, line: list[Token]) -> None:
        """Follow a line `# WORD …` with one of `WORDS`."""
        word = line[1].text
        if word in ("if", "ifdef", "ifndef"):
            self._enter(line)
        elif not self._open:
            raise line[1].error(f"#{word} without an #if")
        elif word == "endif":
            self._open.pop()
        else:
            self._branch(line, self._open[-1])
        self.active = not self._open or self._open[-1].active

    def _enter(self, line: list[Token]) -> None:
        if len(self._open) >= MAX_NESTED:
            raise line[1].error(f"conditions are nested more than {MAX_NESTED} deep")
        holds = self.active and self._holds(line)
        self._open.append(_Condition(line[1], holds, holds, self.active))

    def _branch(self, line: list[Token], condition: _Condition) -> None:
        if condition.closed:
            raise line[1].error(f"#{line[1].text} behind #else")
        condition.closed = line[1].text == "else"
        if condition.taken or not condition.parent_active:
            condition.active = False
        else:
            condition.active = condition.taken = condition.closed or self._holds(line)

    def _holds(self, line: list[Token]) -> bool:
        word = line[1].text
        if not word.endswith("def"):
            return self._value(line)
        if len(line) < 3 or line[2].kind != IDENT:
            raise line[-1].error("expected the name of a macro")
        return (line[2].text in self._expander.macros) != word.endswith("ndef")

    def _value(self, line: list[Token]) -> bool:
        tokens = self._expander.expand_line(self._replace_defined(line[2:]))
        if not tokens:
            raise line[1].error(f"#{line[1].text} without a condition")
        parser = ExpressionParser([_widened(token) for token in tokens], tokens[-1])
        try:
            return evaluate(parse_expression(parser), _Scope()).value != 0
        except NotConstant as problem:
            raise line[1].error(f"this condition cannot be evaluated: {problem}") from None

    def _replace_defined(self, tokens: list[Token]) -> list[Token]:
        """The tokens with every `defined X` and `defined(X)` as 1 or 0."""
        out: list[Token] = []
        rest = list(reversed(tokens))
        while rest:
            token = rest.pop()
            if token.text != "defined":
                out.append(token)
                continue
            bracket = bool(rest) and rest[-1].text == "("
            if bracket:
                rest.pop()
            name = rest.pop() if rest else token
            if (
                name is token
                or name.kind != IDENT
                or (bracket and (not rest or rest.pop().text != ")"))
            ):
                raise token.error("expected `defined NAME` or `defined(NAME)`")
            known = "1" if name.text in self._expander.macros else "0"
            out.append(Token(NUMBER, known, token.file, token.offset, token.space))
        return out


class _Scope:
    """What #if sees: names that are no macros are 0, and there are no types."""

    char_signed = True

    def name(self, name: syntax.Name) -> CInteger:
        if name.name == "defined":
            raise NotConstant("`defined` comes out of a macro")
        return CInteger(0, LLONG)

    def integer_type(self, _type: syntax.TypeSyntax) -> IntegerType:
        raise NotConstant("a cast")

    def size_of(self, _type: syntax.TypeSyntax) -> int:
        raise NotConstant("sizeof")

    def alignment_of(self, _type: syntax.TypeSyntax) -> int:
        raise NotConstant("_Alignof")

    def offset_of(self, _query: syntax.OffsetOf) -> int:
        raise NotConstant("offsetof")

    def call(self, _call: syntax.Call) -> CInteger:
        raise NotConstant("a call of something that is no macro")


def _widened(token: Token) -> Token:
    """A number of #if as C sees it there: intmax_t, or uintmax_t with a u."""
    if token.kind != NUMBER:
        return token
    digits = token.text.rstrip("uUlL")
    unsigned = "u" in token.text[len(digits) :].lower()
    return Token(NUMBER, digits + ("ULL" if unsigned else "LL"), token.file, token.offset)
