"""#define lines -> macros."""

from __future__ import annotations

from typing import Final

from kvmabi.header.lexer import IDENT, Token
from kvmabi.header.macros import Macro

MAX_PARAMETERS: Final = 1_000


def macro_name(line: list[Token]) -> Token:
    """The name behind #define or #undef; HeaderError if none is there."""
    if len(line) < 3 or line[2].kind != IDENT or line[2].text == "defined":
        raise line[min(2, len(line) - 1)].error("expected the name of a macro")
    return line[2]


def read_definition(line: list[Token]) -> Macro:
    """definition: "#" "define" name ("(" parameters ")")? body"""
    name = macro_name(line)
    body = line[3:]
    parameters: tuple[str, ...] | None = None
    variadic = False
    if body and body[0].text == "(" and not body[0].space:
        parameters, variadic, body = _parameters(body)
    if body and "##" in (body[0].text, body[-1].text):
        raise name.error("## stands at an end of a macro")
    if parameters is not None:
        _check_stringify(parameters, body)
    return Macro(name, parameters, variadic, tuple(body))


def _check_stringify(parameters: tuple[str, ...], body: list[Token]) -> None:
    behind = [token.text for token in body[1:]] + [""]
    for token, after in zip(body, behind, strict=False):
        if token.text == "#" and after not in parameters:
            raise token.error("# stands before something that is no parameter")


def _parameters(tokens: list[Token]) -> tuple[tuple[str, ...], bool, list[Token]]:
    """parameters: ")" | (name "..."? | "...") ("," …)* ")"; returned with what stands behind."""
    texts = [token.text for token in tokens] + ["", "", ""]
    if texts[1] == ")":
        return (), False, tokens[2:]
    names: list[str] = []
    index = 1
    while index < len(tokens):
        variadic = texts[index] == "..."
        name = "__VA_ARGS__" if variadic else texts[index]
        if name in names or not (variadic or tokens[index].kind == IDENT):
            raise tokens[index].error("expected a parameter's name")
        if len(names) == MAX_PARAMETERS:
            raise tokens[index].error(f"a macro with more than {MAX_PARAMETERS} parameters")
        names.append(name)
        index += 1
        if not variadic and texts[index] == "...":
            variadic = True
            index += 1
        if texts[index] == ")":
            return tuple(names), variadic, tokens[index + 1 :]
        if texts[index] != "," or variadic:
            break
        index += 1
    raise tokens[min(index, len(tokens) - 1)].error("a macro's parameters are not closed")
