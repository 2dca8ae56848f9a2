"""Macros and their expansion: arguments, `#`, `##`, variadics, and what must not expand again.

The rules for rescanning are those of the C standard as Dave Prosser wrote them down: each token
carries the names of the macros that it came from (its hide set) and never expands to one of them
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kvmabi.errors import HeaderError
from kvmabi.header.lexer import IDENT, OTHER, PUNCT, STRING, Token, spelling, tokenise
from kvmabi.header.source import SourceFile

MAX_TOKENS: Final = 300_000
"""Tokens that one parse may read and expand to; kvm.h with all it includes needs some 50,000."""

MAX_DEPTH: Final = 100
"""Macros inside of macros, and calls inside of arguments."""

_VA_ARGS: Final = "__VA_ARGS__"


class Budget:
    """What one parse may still spend, so that no input makes it run or grow without end."""

    __slots__ = ("left",)

    def __init__(self, tokens: int = MAX_TOKENS) -> None:
        self.left = tokens

    def spend(self, tokens: int, at: Token) -> None:
        """Take `tokens` off; HeaderError at `at` when there is nothing left."""
        self.left -= tokens
        if self.left < 0:
            raise at.error(f"these headers expand to more than {MAX_TOKENS} tokens")


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro as it was defined: `parameters` is None for an object-like one.

    A variadic macro's last parameter takes all arguments that are left. `name` is the token that
    followed #define.
    """

    name: Token
    parameters: tuple[str, ...] | None
    variadic: bool
    body: tuple[Token, ...]

    def same(self, other: Macro) -> bool:
        """Whether a second definition says the same, as the C standard compares them."""
        return (
            self.parameters == other.parameters
            and self.variadic == other.variadic
            and spelling(self.body) == spelling(other.body)
        )


class Unfinished(Exception):
    """The tokens end inside of a macro's arguments."""

    def __init__(self, at: Token) -> None:
        self.at = at


class Expander:
    """Expands tokens by a table of macros that may change between calls."""

    __slots__ = ("_counter", "_depth", "budget", "macros")

    def __init__(self, macros: dict[str, Macro], budget: Budget) -> None:
        self.macros = macros
        self.budget = budget
        self._depth = 0
        self._counter = 0

    def expand(self, tokens: Sequence[Token]) -> list[Token]:
        """The tokens with every macro expanded; Unfinished if they end inside of arguments."""
        out: list[Token] = []
        macros = self.macros
        stack = list(reversed(tokens))
        while stack:
            token = stack.pop()
            macro = macros.get(token.text) if token.kind == IDENT else None
            if macro is None:
                out.append(self._special(token) if token.text[:2] == "__" else token)
            elif token.text in token.hide or (
                macro.parameters is not None and not (stack and stack[-1].text == "(")
            ):
                out.append(token)
            else:
                replacement = self._replace(macro, token, stack)
                self.budget.spend(len(replacement) + 1, token)
                replacement.reverse()
                stack += replacement
        return out

    def expand_line(self, tokens: Sequence[Token]) -> list[Token]:
        """The tokens of a directive expanded; HeaderError if they end inside of arguments."""
        try:
            return self.expand(tokens)
        except Unfinished as unfinished:
            text = f"the arguments of {unfinished.at.text} are not closed on this line"
            raise unfinished.at.error(text) from None

    def _special(self, token: Token) -> Token:
        if token.text == "__LINE__":
            return Token("number", str(token.place.line), token.file, token.offset, token.space)
        if token.text == "__FILE__":
            return Token(STRING, f'"{token.file.name}"', token.file, token.offset, token.space)
        if token.text == "__COUNTER__":
            self._counter += 1
            return Token("number", str(self._counter - 1), token.file, token.offset, token.space)
        return token

    def _replace(self, macro: Macro, token: Token, stack: list[Token]) -> list[Token]:
        if macro.parameters is None:
            hide = token.hide | {token.text}
            body = self._paste(list(macro.body), token)
        else:
            arguments, closing = self._arguments(macro, token, stack)
            hide = (token.hide & closing.hide) | {token.text}
            body = self._substitute(macro, arguments, token)
        if len(hide) > MAX_DEPTH:
            raise token.error(f"macros expand more than {MAX_DEPTH} deep here")
        file, offset = token.file, token.offset
        made = [
            Token(part.kind, part.text, file, offset, part.space, part.hide | hide) for part in body
        ]
        if made:
            made[0].space = token.space
        return made

    def _arguments(
        self, macro: Macro, name: Token, stack: list[Token]
    ) -> tuple[dict[str, list[Token]], Token]:
        assert macro.parameters is not None
        stack.pop()
        groups: list[list[Token]] = [[]]
        most = len(macro.parameters)
        depth = 0
        while stack:
            token = stack.pop()
            text = token.text if token.kind == PUNCT else ""
            if text == ")" and depth == 0:
                self.budget.spend(sum(map(len, groups)), name)
                return self._bind(macro, name, groups), token
            depth += (text == "(") - (text == ")")
            if text == "," and depth == 0 and not (macro.variadic and len(groups) == most):
                groups.append([])
            else:
                groups[-1].append(token)
        raise Unfinished(name)

    @staticmethod
    def _bind(macro: Macro, name: Token, groups: list[list[Token]]) -> dict[str, list[Token]]:
        parameters = macro.parameters or ()
        if not parameters and groups == [[]]:
            return {}
        if macro.variadic and len(groups) == len(parameters) - 1:
            groups.append([])
        if len(groups) != len(parameters):
            raise name.error(
                f"macro {name.text} takes {len(parameters)} arguments, here are {len(groups)}"
            )
        return dict(zip(parameters, groups, strict=True))

    def _substitute(
        self, macro: Macro, arguments: dict[str, list[Token]], call: Token
    ) -> list[Token]:
        body = macro.body
        expanded: dict[str, list[Token]] = {}
        out: list[Token] = []
        for index, token in enumerate(body):
            argument = arguments.get(token.text) if token.kind == IDENT else None
            before = body[index - 1].text if index else ""
            after = body[index + 1].text if index + 1 < len(body) else ""
            if before == "#" and argument is not None:
                out[-1] = _stringify(argument, out[-1])
            elif argument is None:
                out.append(token)
            elif before == "##" or after == "##":
                out += self._pasted_argument(macro, token, argument, before, out)
            else:
                if token.text not in expanded:
                    expanded[token.text] = self._expand_argument(argument, call)
                out += _spaced(expanded[token.text], token)
            self.budget.spend(1, call)
        return self._paste(out, call)

    @staticmethod
    def _pasted_argument(
        macro: Macro, token: Token, argument: list[Token], before: str, out: list[Token]
    ) -> Iterable[Token]:
        last = macro.parameters[-1] if macro.parameters else ""
        comma = len(out) > 1 and out[-2].text == ","
        if before == "##" and macro.variadic and token.text == last and comma:
            # The GNU form: `, ## args` is the arguments, or without them not even the comma.
            del out[-1 if argument else -2 :]
            return argument
        return _spaced(argument, token) or [_placemarker(token)]

    def _expand_argument(self, argument: list[Token], call: Token) -> list[Token]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise call.error(f"macro arguments are nested more than {MAX_DEPTH} deep")
        try:
            result = self.expand(argument)
        except Unfinished as unfinished:
            # A name whose "(" is closed outside of the argument: no call of ours to expand.
            raise unfinished.at.error("a macro's arguments are not closed") from None
        finally:
            self._depth -= 1
        self.budget.spend(len(result), call)
        return result

    def _paste(self, tokens: list[Token], call: Token) -> list[Token]:
        if not any(token.text == "##" or not token.text for token in tokens):
            return tokens
        out: list[Token] = []
        pending = iter(tokens)
        for token in pending:
            if token.text == "##" and token.kind == PUNCT and out:
                right = next(pending, None)
                if right is None:
                    raise call.error("## stands at the end of a macro")
                out[-1] = _glue(out[-1], right, call)
            else:
                out.append(token)
        return [token for token in out if token.text]


def _spaced(tokens: list[Token], like: Token) -> list[Token]:
    """The tokens, the first one spaced as the parameter was that they stand for."""
    if not tokens or tokens[0].space == like.space:
        return tokens
    first = tokens[0]
    return [
        Token(first.kind, first.text, first.file, first.offset, like.space, first.hide),
        *tokens[1:],
    ]


def _placemarker(like: Token) -> Token:
    return Token(OTHER, "", like.file, like.offset, like.space)


def _stringify(tokens: list[Token], like: Token) -> Token:
    parts: list[str] = []
    for token in tokens:
        text = token.text
        if token.kind in (STRING, "char"):
            text = text.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f" {text}" if token.space and parts else text)
    return Token(STRING, f'"{"".join(parts)}"', like.file, like.offset, like.space)


def _glue(left: Token, right: Token, call: Token) -> Token:
    text = left.text + right.text
    if len(text) > 10_000:
        raise call.error("## makes a token of more than 10000 characters")
    try:
        lines = tokenise(SourceFile(call.file.name, text), limit=2)
    except HeaderError:
        lines = []
    if text and (len(lines) != 1 or len(lines[0]) != 1):
        raise call.error(f"## cannot make one token of {left.text!r} and {right.text!r}")
    kind = lines[0][0].kind if text else OTHER
    return Token(kind, text, call.file, call.offset, left.space, left.hide & right.hide)
