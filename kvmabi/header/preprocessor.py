"""Headers -> one stream of tokens: directives, inclusion, and the text between them expanded.

Macros may be defined between the lines of a declaration, as kvm.h does; so text is expanded in the
stretches between definitions, with the macros that hold there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kvmabi.errors import HeaderError
from kvmabi.header import conditions
from kvmabi.header.conditions import Conditions
from kvmabi.header.definitions import macro_name, read_definition
from kvmabi.header.lexer import PUNCT, STRING, Token, spelling, tokenise
from kvmabi.header.macros import Budget, Expander, Macro, Unfinished
from kvmabi.header.source import HeaderTree, SourceFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_INCLUDE_DEPTH: Final = 40
MAX_INCLUDES: Final = 5_000
PREDEFINED: Final = "<predefined>"
"""The name of the file that predefined macros come from."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A file that is being read; `folder` is the index of the include folder that it came from."""

    file: SourceFile
    folder: int
    conditions: Conditions


class Preprocessor:
    """Reads headers of a tree in order; `tokens` and `macros` hold what came of them."""

    def __init__(self, tree: HeaderTree, predefined: Sequence[tuple[str, str]]) -> None:
        self.tree = tree
        self.macros: dict[str, Macro] = {}
        self.tokens: list[Token] = []
        self.files: list[str] = []
        self.notes: list[str] = []
        self.budget = Budget()
        self.expander = Expander(self.macros, self.budget)
        self._open: list[_Open] = []
        self._pending: list[Token] = []
        self._guards: dict[str, str | None] = {}
        self._lines: dict[SourceFile, list[list[Token]]] = {}
        self._includes = 0
        text = "".join(f"#define {name} {value}\n" for name, value in predefined)
        self.read(SourceFile(PREDEFINED, text))

    def include(self, name: str) -> None:
        """Read the header of the tree called `name` ("linux/kvm.h"), as `#include <name>` does."""
        self._include(name, None, -1)

    def read(self, file: SourceFile, folder: int = -1) -> None:
        """Read one file, with all that it includes."""
        self.files.append(file.name)
        if file not in self._lines:
            self._lines[file] = tokenise(file, limit=self.budget.left)
        lines = self._lines[file]
        guard = _guard(lines)
        if guard is not None:
            self._guards[file.name] = guard
        opened = _Open(file, folder, Conditions(self.expander))
        self._open.append(opened)
        for line in lines:
            first = line[0]
            if first.text == "#" and first.kind == PUNCT:
                self._directive(line, opened.conditions)
            elif opened.conditions.active:
                self._pending += line
        opened.conditions.close()
        self._open.pop()
        if not self._open:
            self._flush(final=True)

    def _flush(self, *, final: bool = False) -> None:
        """Expand the text that is waiting, unless it ends inside of a macro's arguments."""
        if not self._pending:
            return
        self.budget.spend(len(self._pending), self._pending[0])
        try:
            self.tokens += self.expander.expand(self._pending)
        except Unfinished as unfinished:
            if final:
                text = f"the arguments of {unfinished.at.text} are never closed"
                raise unfinished.at.error(text) from None
            return
        self._pending = []

    def _directive(self, line: list[Token], state: Conditions) -> None:
        self.budget.spend(len(line), line[0])
        if len(line) == 1:
            return
        word = line[1].text
        if word in conditions.WORDS:
            state.directive(line)
        elif state.active:
            self._flush()
            directive = _DIRECTIVES.get(word)
            if directive is None:
                raise line[1].error(f"unknown directive #{word[:40]}")
            directive(self, line)

    def define(self, line: list[Token]) -> None:
        """Follow `#define`; a second definition takes the place of the first."""
        macro = read_definition(line)
        self.macros[macro.name.text] = macro

    def undefine(self, line: list[Token]) -> None:
        """Follow `#undef`."""
        self.macros.pop(macro_name(line).text, None)

    def include_directive(self, line: list[Token]) -> None:
        """Follow `#include <name>`, `#include "name"`, or tokens that expand to one of them."""
        rest = line[2:]
        if rest and rest[0].kind != STRING and rest[0].text != "<":
            rest = self.expander.expand_line(rest)
        if len(rest) == 1 and rest[0].kind == STRING:
            name = self._beside(rest[0].text.strip('"'))
        elif len(rest) > 2 and rest[0].text == "<" and rest[-1].text == ">":
            name = spelling(rest[1:-1])
        else:
            raise line[1].error('expected <name> or "name"')
        after = self._open[-1].folder if line[1].text == "include_next" else -1
        self._include(name, line[1], after)

    def _beside(self, name: str) -> str:
        """The name of a quoted header: beside the file that includes it, or as it stands."""
        folder = self._open[-1].file.name.rpartition("/")[0]
        beside = f"{folder}/{name}"
        return beside if folder and self.tree.find(beside) is not None else name

    def _include(self, name: str, at: Token | None, after: int) -> None:
        def error(message: str) -> HeaderError:
            return at.error(message) if at is not None else HeaderError(message, file=name)

        if after < 0 and name in self._guards:
            guard = self._guards[name]
            if guard is None or guard in self.macros:
                return
        self._includes += 1
        if self._includes > MAX_INCLUDES:
            raise error(f"more than {MAX_INCLUDES} headers are included")
        if len(self._open) >= MAX_INCLUDE_DEPTH:
            raise error(f"headers include each other more than {MAX_INCLUDE_DEPTH} deep")
        found = self.tree.find(name, after=after)
        if found is None:
            folders = ", ".join(map(str, self.tree.folders))
            raise error(f"{name} is in none of the include folders ({folders})")
        path, folder = found
        self.read(self.tree.read(path, name), folder)

    def pragma(self, line: list[Token]) -> None:
        """Follow `#pragma once`; refuse `pack`, which would change layouts unseen."""
        text = spelling(line[2:])
        if text == "once":
            self._guards[self._open[-1].file.name] = None
        elif text.startswith("pack"):
            raise line[1].error("#pragma pack changes layouts and is not supported")

    def error(self, line: list[Token]) -> None:
        """Stop at an `#error` that counts."""
        raise line[1].error(f"#error {spelling(line[2:])[:200]}")

    def warning(self, line: list[Token]) -> None:
        """Keep a `#warning` as a note."""
        place = line[1].place
        self.notes.append(f"{place.file}:{place.line}: #warning {spelling(line[2:])[:200]}")

    def ignore(self, line: list[Token]) -> None:
        """Pass over `#line` and `#ident`, which say nothing about an ABI."""


_DIRECTIVES: Final[dict[str, Callable[[Preprocessor, list[Token]], None]]] = {
    "define": Preprocessor.define,
    "undef": Preprocessor.undefine,
    "include": Preprocessor.include_directive,
    "include_next": Preprocessor.include_directive,
    "pragma": Preprocessor.pragma,
    "error": Preprocessor.error,
    "warning": Preprocessor.warning,
    "line": Preprocessor.ignore,
    "ident": Preprocessor.ignore,
}


def _guard(lines: list[list[Token]]) -> str | None:
    """X where `#ifndef X … #endif` is around all lines of a file; None for any other file."""
    if len(lines) < 2 or len(lines[0]) != 3 or lines[0][1].text != "ifndef":
        return None
    depth = 0
    for line in lines[:-1]:
        word = line[1].text if line[0].text == "#" and len(line) > 1 else ""
        depth += (word in ("if", "ifdef", "ifndef")) - (word == "endif")
        if depth == 0 or (depth == 1 and word in ("else", "elif", "elifdef", "elifndef")):
            return None
    return lines[0][2].text
