"""Text -> preprocessing tokens, line by line. Nothing here fails but a comment that never ends."""

from __future__ import annotations

import re
from typing import Final

from kvmabi.errors import HeaderError
from kvmabi.header.source import Place, SourceFile

IDENT: Final = "ident"
NUMBER: Final = "number"
STRING: Final = "string"
CHAR: Final = "char"
PUNCT: Final = "punct"
OTHER: Final = "other"

_SPACE: Final = "space"
_NEWLINE: Final = "newline"

_TOKEN: Final = re.compile(
    r"""
      (?P<space>   [ \t\f\v\r]+ | //[^\n]* | /\*.*?\*/ )
    | (?P<newline> \n )
    | (?P<string>  (?:u8|[uUL])?"(?:[^"\\\n]|\\[^\n])*" )
    | (?P<char>    [uUL]?'(?:[^'\\\n]|\\[^\n])+' )
    | (?P<ident>   [A-Za-z_$][A-Za-z0-9_$]* )
    | (?P<number>  \.?[0-9](?:[eEpP][+-]|[0-9A-Za-z_.])* )
    | (?P<open>    /\* )
    | (?P<punct>   \#\# | \.\.\. | <<= | >>= | -> | \+\+ | -- | << | >> | <= | >= | == | != | && |
    \|\| | [*/%+\-&^|]= | [\[\](){}.&*+\-~!/%<>^|?:;=,\#] ) | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)


class Token:
    """One preprocessing token: its kind and text, where it stands, and what it must not expand to.

    `space` is whether white space stood before it; `hide` are the names of the macros that made it.
    """

    __slots__ = ("file", "hide", "kind", "offset", "space", "text")

    def __init__(
        self,
        kind: str,
        text: str,
        file: SourceFile,
        offset: int,
        space: bool = False,
        hide: frozenset[str] = frozenset(),
    ) -> None:
        self.kind = kind
        self.text = text
        self.file = file
        self.offset = offset
        self.space = space
        self.hide = hide

    def __repr__(self) -> str:
        return f"Token({self.kind}, {self.text!r})"

    @property
    def place(self) -> Place:
        """Where the token stands; for what a macro made, where the macro was used."""
        return self.file.place(self.offset)

    def error(self, message: str) -> HeaderError:
        """A HeaderError for this token's place."""
        return self.place.error(message)


def tokenise(file: SourceFile, *, limit: int) -> list[list[Token]]:
    """The tokens of `file`, one list a line; empty lines are left out.

    HeaderError for a comment that never ends, and for more than `limit` tokens.
    """
    lines: list[list[Token]] = []
    line: list[Token] = []
    space = False
    left = limit
    for match in _TOKEN.finditer(file.text):
        kind = match.lastgroup
        if kind is _SPACE or kind == _SPACE:
            space = True
            continue
        if kind == _NEWLINE:
            if line:
                lines.append(line)
                line = []
            space = False
            continue
        if kind == "open":
            raise file.place(match.start()).error("this comment is never closed")
        assert kind is not None
        line.append(Token(kind, match.group(), file, match.start(), space))
        space = False
        left -= 1
        if left < 0:
            raise file.place(match.start()).error(f"more than {limit} tokens")
    if line:
        lines.append(line)
    return lines


def spelling(tokens: list[Token] | tuple[Token, ...]) -> str:
    """The tokens as text, with one space where white space stood between two of them."""
    parts: list[str] = []
    for token in tokens:
        if token.space and parts:
            parts.append(" ")
        parts.append(token.text)
    return "".join(parts)
