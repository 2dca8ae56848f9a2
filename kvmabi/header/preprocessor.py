"""Headers -> one stream of tokens: directives, conditions, inclusion.

Macros inside of a declaration may be defined between its lines, as kvm.h does; so text is expanded in
the stretches between directives, with the macros that hold there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from kvmabi.errors import HeaderError
from kvmabi.header import syntax
from kvmabi.header.evaluate import evaluate
from kvmabi.header.expressions import ExpressionParser, parse_expression
from kvmabi.header.integers import LLONG, CInteger, IntegerType, NotConstant
from kvmabi.header.lexer import IDENT, NUMBER, PUNCT, STRING, Token, spelling, tokenise
from kvmabi.header.macros import Budget, Expander, Macro, Unfinished
from kvmabi.header.source import HeaderTree, SourceFile

MAX_INCLUDE_DEPTH: Final = 40
MAX_INCLUDES: Final = 5_000


@dataclass(slots=True)
class _Condition:
    """One #if: whether its text counts now, whether a branch of it did, whether #else was there."""

    at: Token
    active: bool
    taken: bool
    parent_active: bool
    closed: bool = False


@dataclass(slots=True)
class _Open:
    """A file that is being read; `folder` is the index of the include folder that it came from."""

    file: SourceFile
    folder: int
    conditions: list[_Condition] = field(default_factory=list)


class _ConditionScope:
    """What #if sees: names that are no macros are 0, all values are as wide as they get."""

    char_signed = True

    def name(self, name: syntax.Name) -> CInteger:
        return CInteger(0, LLONG)

    def integer_type(self, type_: syntax.TypeSyntax) -> IntegerType:
        raise NotConstant("a cast")

    def size_of(self, type_: syntax.TypeSyntax) -> int:
        raise NotConstant("sizeof")

    def alignment_of(self, type_: syntax.TypeSyntax) -> int:
        raise NotConstant("_Alignof")

    def offset_of(self, query: syntax.OffsetOf) -> int:
        raise NotConstant("offsetof")

    def call(self, call: syntax.Call) -> CInteger:
        raise NotConstant("a call of something that is no macro")


class _ConditionParser(ExpressionParser):
    """An expression of #if: its numbers are all of the widest type."""

    __slots__ = ()


class Preprocessor:
    """Reads headers of a tree one behind the other; `tokens` and `macros` hold what came of them."""

    def __init__(self, tree: HeaderTree, predefined: tuple[tuple[str, str], ...]) -> None:
        self.tree = tree
        self.macros: dict[str, Macro] = {}
        self.tokens: list[Token] = []
        self.files: list[str] = []
        self.notes: list[str] = []
        self.budget = Budget()
        self.expander = Expander(self.macros, self.budget)
        self._open: list[_Open] = []
        self._pending: list[Token] = []
        self._once: set[str] = set()
        self._guards: dict[str, str] = {}
        self._lines: dict[SourceFile, list[list[Token]]] = {}
        self._includes = 0
        text = "".join(f"#define {name} {value}\n" for name, value in predefined)
        self.read(SourceFile("<predefined>", text))

    def include(self, name: str) -> None:
        """Read the header of the tree called `name` ("linux/kvm.h"), as `#include <name>` does."""
        self._include(name, None, -1)

    def read(self, file: SourceFile, folder: int = -1) -> None:
        """Read one file, with all that it includes."""
        self.files.append(file.name)
        if file not in self._lines:
            self._lines[file] = tokenise(file, limit=self.budget.left)
        lines = self._lines[file]
        opened = _Open(file, folder)
        self._open.append(opened)
        for line in lines:
            first = line[0]
            if first.text == "#" and first.kind == PUNCT:
                self._directive(line, opened)
            elif not opened.conditions or opened.conditions[-1].active:
                self._pending += line
        self._flush(final=True)
        if opened.conditions:
            raise opened.conditions[-1].at.error("this condition is never closed")
        self._note_guard(file, lines)
        self._open.pop()

    def _note_guard(self, file: SourceFile, lines: list[list[Token]]) -> None:
        """Remember `#ifndef X … #endif` around the whole file."""
        if len(lines) < 2 or len(lines[0]) != 3 or lines[0][1].text != "ifndef":
            return
        depth = 0
        for line in lines[:-1]:
            if line[0].text == "#" and len(line) > 1:
                word = line[1].text
                depth += (word in ("if", "ifdef", "ifndef")) - (word == "endif")
                if depth == 0 or (depth == 1 and word in ("else", "elif")):
                    return
        self._guards[file.name] = lines[0][2].text

    def _flush(self, *, final: bool = False) -> None:
        """Expand the text that is waiting, unless it ends inside of a macro's arguments."""
        if not self._pending:
            return
        self.budget.spend(len(self._pending), self._pending[0])
        try:
            self.tokens += self.expander.expand(self._pending)
        except Unfinished as unfinished:
            if final and len(self._open) == 1:
                text = f"the arguments of {unfinished.at.text} are never closed"
                raise unfinished.at.error(text) from None
            return
        self._pending = []

    # Directives.

    def _directive(self, line: list[Token], opened: _Open) -> None:
        if len(line) == 1:
            return
        self.budget.spend(len(line), line[0])
        word = line[1]
        conditional = _CONDITIONALS.get(word.text)
        if conditional is not None:
            conditional(self, line, opened.conditions)
            return
        if opened.conditions and not opened.conditions[-1].active:
            return
        self._flush()
        directive = _DIRECTIVES.get(word.text)
        if directive is None:
            raise word.error(f"unknown directive #{word.text[:40]}")
        directive(self, line)

    def _define(self, line: list[Token]) -> None:
        """# define name body | # define name(parameters) body"""
        name = self._macro_name(line)
        rest = line[3:]
        parameters: tuple[str, ...] | None = None
        variadic = False
        if rest and rest[0].text == "(" and not rest[0].space:
            parameters, variadic, rest = _parameters(rest)
        if rest and rest[-1].text == "##" or rest and rest[0].text == "##":
            raise name.error("## stands at an end of a macro")
        self.macros[name.text] = Macro(name, parameters, variadic, tuple(rest))

    def _undef(self, line: list[Token]) -> None:
        self.macros.pop(self._macro_name(line).text, None)

    @staticmethod
    def _macro_name(line: list[Token]) -> Token:
        if len(line) < 3 or line[2].kind != IDENT or line[2].text == "defined":
            raise line[min(2, len(line) - 1)].error("expected the name of a macro")
        return line[2]

    def _include_directive(self, line: list[Token]) -> None:
        """# include <name> | "name" | tokens that expand to one of them"""
        rest = line[2:]
        if rest and rest[0].kind != STRING and rest[0].text != "<":
            rest = self._expand_line(rest)
        if not rest:
            raise line[1].error("expected the name of a header")
        quoted = rest[0].kind == STRING
        if quoted:
            name = rest[0].text.strip('"')
        else:
            if rest[0].text != "<" or rest[-1].text != ">":
                raise rest[0].error("expected <name> or \"name\"")
            name = spelling(rest[1:-1])
        opened = self._open[-1]
        after = opened.folder if line[1].text == "include_next" else -1
        folder = opened.file.name.rpartition("/")[0]
        if quoted and folder and self.tree.find(f"{folder}/{name}") is not None:
            name = f"{folder}/{name}"
        self._include(name, line[1], after)

    def _include(self, name: str, at: Token | None, after: int) -> None:
        def error(message: str) -> HeaderError:
            return at.error(message) if at is not None else HeaderError(message, file=name)

        guard = self._guards.get(name)
        if after < 0 and (name in self._once or (guard is not None and guard in self.macros)):
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

    def _pragma(self, line: list[Token]) -> None:
        text = spelling(line[2:])
        if text == "once":
            self._once.add(self._open[-1].file.name)
        elif text.startswith("pack"):
            raise line[1].error("#pragma pack changes layouts and is not supported")

    def _error(self, line: list[Token]) -> None:
        raise line[1].error(f"#error {spelling(line[2:])[:200]}")

    def _warning(self, line: list[Token]) -> None:
        place = line[1].place
        self.notes.append(f"{place.file}:{place.line}: #warning {spelling(line[2:])[:200]}")

    def _ignore(self, line: list[Token]) -> None:
        """#line and #ident say nothing about an ABI."""

    # Conditions.

    def _expand_line(self, tokens: list[Token]) -> list[Token]:
        try:
            return self.expander.expand(tokens)
        except Unfinished as unfinished:
            text = f"the arguments of {unfinished.at.text} are not closed on this line"
            raise unfinished.at.error(text) from None

    def _value(self, line: list[Token]) -> bool:
        """Whether the condition behind #if or #elif holds."""
        tokens = self._expand_line(self._replace_defined(line[2:], line[1]))
        if not tokens:
            raise line[1].error(f"#{line[1].text} without a condition")
        parser = _ConditionParser([_widened(token) for token in tokens], tokens[-1])
        try:
            return evaluate(parse_expression(parser), _ConditionScope()).value != 0
        except NotConstant as problem:
            raise line[1].error(f"this condition cannot be evaluated: {problem}") from None

    def _replace_defined(self, tokens: list[Token], at: Token) -> list[Token]:
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
            name = rest.pop() if rest else at
            if name.kind != IDENT or (bracket and (not rest or rest.pop().text != ")")):
                raise token.error("expected `defined NAME` or `defined(NAME)`")
            known = "1" if name.text in self.macros else "0"
            out.append(Token(NUMBER, known, token.file, token.offset, token.space))
        return out

    def _enter(self, at: Token, holds: bool, conditions: list[_Condition]) -> None:
        active = not conditions or conditions[-1].active
        conditions.append(_Condition(at, active and holds, holds, active))
        if len(conditions) > 200:
            raise at.error("conditions are nested more than 200 deep")

    def _if(self, line: list[Token], conditions: list[_Condition]) -> None:
        active = not conditions or conditions[-1].active
        self._flush()
        self._enter(line[1], active and self._value(line), conditions)

    def _ifdef(self, line: list[Token], conditions: list[_Condition]) -> None:
        active = not conditions or conditions[-1].active
        self._flush()
        defined = active and self._macro_name(line).text in self.macros
        wanted = line[1].text == "ifdef"
        self._enter(line[1], active and defined == wanted, conditions)

    def _innermost(self, line: list[Token], conditions: list[_Condition]) -> _Condition:
        if not conditions:
            raise line[1].error(f"#{line[1].text} without an #if")
        self._flush()
        condition = conditions[-1]
        if condition.closed and line[1].text != "endif":
            raise line[1].error(f"#{line[1].text} behind #else")
        return condition

    def _elif(self, line: list[Token], conditions: list[_Condition]) -> None:
        condition = self._innermost(line, conditions)
        if condition.taken or not condition.parent_active:
            condition.active = False
            return
        if line[1].text == "elif":
            holds = self._value(line)
        else:
            defined = self._macro_name(line).text in self.macros
            holds = defined == (line[1].text == "elifdef")
        condition.active = condition.taken = holds

    def _else(self, line: list[Token], conditions: list[_Condition]) -> None:
        condition = self._innermost(line, conditions)
        condition.active = condition.parent_active and not condition.taken
        condition.taken = condition.closed = True

    def _endif(self, line: list[Token], conditions: list[_Condition]) -> None:
        self._innermost(line, conditions)
        conditions.pop()


_CONDITIONALS: Final = {
    "if": Preprocessor._if,
    "ifdef": Preprocessor._ifdef,
    "ifndef": Preprocessor._ifdef,
    "elif": Preprocessor._elif,
    "elifdef": Preprocessor._elif,
    "elifndef": Preprocessor._elif,
    "else": Preprocessor._else,
    "endif": Preprocessor._endif,
}
_DIRECTIVES: Final = {
    "define": Preprocessor._define,
    "undef": Preprocessor._undef,
    "include": Preprocessor._include_directive,
    "include_next": Preprocessor._include_directive,
    "pragma": Preprocessor._pragma,
    "error": Preprocessor._error,
    "warning": Preprocessor._warning,
    "line": Preprocessor._ignore,
    "ident": Preprocessor._ignore,
}


def _widened(token: Token) -> Token:
    """A number of #if as C sees it there: intmax_t, or uintmax_t with a u."""
    if token.kind != NUMBER:
        return token
    digits = token.text.rstrip("uUlL")
    unsigned = "u" in token.text[len(digits) :].lower()
    return Token(NUMBER, digits + ("ULL" if unsigned else "LL"), token.file, token.offset)


def _parameters(tokens: list[Token]) -> tuple[tuple[str, ...], bool, list[Token]]:
    """(parameters, variadic, body) of tokens that start at a macro's "("."""
    names: list[str] = []
    index = 1
    while index < len(tokens):
        token = tokens[index]
        if token.text == ")" and (not names or tokens[index - 1].text != ","):
            return tuple(names), False, tokens[index + 1 :]
        if token.text == "...":
            names.append("__VA_ARGS__")
        elif token.kind == IDENT and token.text not in names:
            names.append(token.text)
        else:
            raise token.error("expected a parameter's name")
        index += 1
        variadic = token.text == "..."
        if index < len(tokens) and tokens[index].text == "..." and not variadic:
            variadic = True
            index += 1
        if index < len(tokens) and tokens[index].text == ")":
            return tuple(names), variadic, tokens[index + 1 :]
        if variadic or index >= len(tokens) or tokens[index].text != ",":
            break
        index += 1
    raise tokens[min(index, len(tokens) - 1)].error("a macro's parameters are not closed")

