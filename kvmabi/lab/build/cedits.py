"""Changes to C source, described by the tokens around the place and never by line numbers.

White space, line breaks and comments play no part in where a change is made, so that one
description fits several versions of a file. Nothing here knows files or kernels.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      (?P<space>  (?: \s | \\\r?\n )+ | //[^\n]* | /\*.*?\*/ )
    | (?P<token>
          (?:u8|[uUL])?"(?:[^"\\\n]|\\.)*" | [uUL]?'(?:[^'\\\n]|\\.)+'
        | \$[0-9] | [A-Za-z_][A-Za-z0-9_]* | \.?[0-9](?:[eEpP][+-]|[0-9A-Za-z_.])*
        | \#\# | \.\.\. | <<= | >>= | -> | \+\+ | -- | << | >> | <= | >= | == | != | && | \|\|
        | [*/%+\-&^|]= | .
      )
    """,
    re.VERBOSE | re.DOTALL,
)
_HOLE: Final = re.compile(r"\$[0-9]")
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}
_SCOPE: Final = re.compile(r"(?:(enum|struct|union) )?([A-Za-z_]\w*)")


class Where(StrEnum):
    """What becomes of the tokens that were found."""

    REPLACE = "replace"
    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Token:
    """A C token and its place in the text."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Match:
    """Where a pattern stands in a text, and the text that stands for each of its holes."""

    start: int
    end: int
    holes: Mapping[str, str]


@functools.lru_cache(maxsize=4)  # one file is looked at for a scope, and again for each pattern
def tokens(text: str) -> tuple[Token, ...]:
    """Return a text's C tokens in order, preprocessor directives like any other text."""
    return tuple(
        Token(match.group(), match.start(), match.end())
        for match in _TOKEN.finditer(text)
        if match.lastgroup == "token"
    )


def is_scope(name: str) -> bool:
    """Return whether `scopes` can look for this name."""
    return bool(_SCOPE.fullmatch(name))


def scopes(text: Sequence[Token], name: str) -> list[range]:
    """Return the token ranges of all definitions of a name, each up to its closing brace.

    "enum X", "struct X" and "union X" are types, and any other name is a function's, whose range
    starts at the name, so that it includes the parameters. A header may have several definitions
    of a function, one for each configuration.
    """
    keyword, _, last = name.rpartition(" ")
    found = []
    for at, token in enumerate(text):
        if token.text != last or (keyword and (at == 0 or text[at - 1].text != keyword)):
            continue
        brace = at + 1 if keyword else _body(text, at + 1)
        if brace < len(text) and text[brace].text == "{":
            found.append(range(at, _closed(text, brace)))
    return found


def find(text: str, pattern: str, within: str = "") -> list[Match]:
    """Return all places where the pattern's tokens stand, in the order of the text.

    `$1` to `$9` in a pattern are holes: each stands for the shortest run of tokens with balanced
    brackets and without ";" and braces, such as an argument, and for the same run wherever it is
    repeated. What stands behind a hole ends it, so a pattern should not end with one. `within` is
    a name as for `scopes`, or "" for all of the text.
    """
    have, want = tokens(text), [token.text for token in tokens(pattern)]
    places = scopes(have, within) if within else [range(len(have))]
    found = []
    for place in places:
        for at in place:
            for end, holes in _match(have, want, at, place.stop, {}):
                spelled = {
                    hole: text[have[run.start].start : have[run.stop - 1].end]
                    for hole, run in holes.items()
                }
                found.append(Match(have[at].start, have[end - 1].end, spelled))
                break
    return found


def edit(text: str, match: Match, new: str, where: Where) -> str:
    """Return the text with `new` instead of, before or after a match; holes in it are filled.

    What is added before or after stands on a line of its own where the match starts or ends one.
    """
    new = _HOLE.sub(lambda hole: match.holes.get(hole.group(), hole.group()), new)
    if where is Where.REPLACE:
        return text[: match.start] + new + text[match.end :]
    line = text[text.rfind("\n", 0, match.start) + 1 : match.start]
    if where is Where.BEFORE:
        gap = "\n" + line if not line.strip() else " "
        return text[: match.start] + _apart(new, gap, at_end=True) + text[match.start :]
    indent = line[: len(line) - len(line.lstrip())]
    ends_a_line = re.match(r"[ \t]*(\n|$)", text[match.end :])
    gap = "\n" + indent if ends_a_line else " "
    return text[: match.end] + _apart(new, gap, at_end=False) + text[match.end :]


def _apart(new: str, gap: str, *, at_end: bool) -> str:
    """Return what is added, with the gap to its neighbour; a gap that is a new line indents."""
    if not new.strip():
        return ""
    lines = new.strip().splitlines()
    added = "\n".join(lines) if gap == " " else gap.join(lines)
    return added + gap if at_end else gap + added


def _match(
    have: Sequence[Token], want: Sequence[str], at: int, stop: int, holes: dict[str, range]
) -> Iterator[tuple[int, dict[str, range]]]:
    """Yield each way in which `want` fits at `at`: the index behind it, and what the holes took."""
    for index, one in enumerate(want):
        if _HOLE.fullmatch(one):
            rest = want[index + 1 :]
            for end in _runs(have, at, stop):
                if one in holes and _texts(have, holes[one]) != _texts(have, range(at, end)):
                    continue
                yield from _match(have, rest, end, stop, {**holes, one: range(at, end)})
            return
        if at >= stop or have[at].text != one:
            return
        at += 1
    yield at, holes


def _texts(have: Sequence[Token], run: range) -> list[str]:
    return [have[at].text for at in run]


def _runs(have: Sequence[Token], at: int, stop: int) -> Iterator[int]:
    """Yield the ends of the balanced runs that start here, the shortest first."""
    while at < stop and have[at].text not in {";", "{", "}", ")", "]"}:
        at = _closed(have, at) if have[at].text in _CLOSING else at + 1
        if at > stop:
            return
        yield at


def _body(have: Sequence[Token], at: int) -> int:
    """Return the index behind a parameter list and what may annotate it; no "{" there: no body."""
    if at >= len(have) or have[at].text != "(":
        return len(have)
    at = _closed(have, at)
    while at < len(have) and re.match(r"\w", have[at].text):
        at += 1
        if at < len(have) and have[at].text == "(":
            at = _closed(have, at)
    return at


def _closed(have: Sequence[Token], at: int) -> int:
    """Return the index behind the bracket that closes the one here; past the end for none."""
    pair = have[at].text, _CLOSING[have[at].text]
    depth = 0
    for index in range(at, len(have)):
        depth += (have[index].text == pair[0]) - (have[index].text == pair[1])
        if not depth:
            return index + 1
    return len(have) + 1


def line_of(text: str, offset: int) -> int:
    """Return the number, from 1, of the line at an offset."""
    return bisect_left([match.start() for match in re.finditer("\n", text)], offset) + 1
