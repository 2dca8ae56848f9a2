"""A cursor over tokens: what every parser here stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from kvmabi.header.lexer import PUNCT

if TYPE_CHECKING:
    from kvmabi.header.lexer import Token

MAX_DEPTH: Final = 50
"""Parentheses, records and declarators inside of each other."""

_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


class TokenCursor:
    """A list of tokens and a place in it; errors behind the last token point to `end`."""

    __slots__ = ("_depth", "_end", "_next", "_tokens")

    def __init__(self, tokens: list[Token], end: Token) -> None:
        self._tokens = tokens
        self._next = 0
        self._end = end
        self._depth = 0

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
        """Read a bracket and all up to the one that closes it; HeaderError if none comes next."""
        if self.peek() not in _CLOSING:
            self.fail("expected a bracket")
        opened = [self.take()]
        while opened:
            if self.done:
                raise opened[-1].error(f"this {opened[-1].text!r} is never closed")
            token = self.take()
            if token.kind != PUNCT:
                continue
            if token.text in _CLOSING:
                opened.append(token)
            elif token.text in _CLOSING.values() and token.text != _CLOSING[opened.pop().text]:
                raise token.error(f"{token.text!r} closes nothing")
