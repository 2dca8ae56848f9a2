"""Headers as syntax: a preprocessor and a parser for the C that kernels offer to programs.

`parse` is all that most callers need. Nothing here knows a layout, an architecture or an operating
system; see `kvmabi.abi` for what headers mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kvmabi.errors import HeaderError
from kvmabi.header.declarations import DeclarationParser
from kvmabi.header.lexer import IDENT, PUNCT, Token
from kvmabi.header.macros import Macro, Unfinished
from kvmabi.header.preprocessor import PREDEFINED, Preprocessor
from kvmabi.header.source import HeaderTree, SourceFile, source_from_bytes
from kvmabi.header.unit import PARAMETER, HeaderSyntax, MacroSyntax

__all__ = [
    "HeaderSyntax",
    "HeaderTree",
    "MacroSyntax",
    "SourceFile",
    "parse",
    "source_from_bytes",
]

MAX_VARIADIC: Final = 8
"""How many arguments a variadic macro is tried with at most."""


def parse(
    tree: HeaderTree,
    includes: Sequence[str] = ("linux/kvm.h",),
    *,
    predefined: Sequence[tuple[str, str]] = (),
    overlays: Sequence[SourceFile] = (),
    keep: frozenset[str] = frozenset(),
) -> HeaderSyntax:
    """What the headers `includes` of a tree say, and `overlays` behind them, as a compiler reads.

    `predefined` are macros (name, body) that hold from the start. `keep` are function-like macros
    whose calls stay as they are in the macros that use them (`_IOW`, whose arguments matter).
    HeaderError for all that is not C as headers have it, with its place; also where reading it
    would take more time or memory than headers need.
    """
    preprocessor = Preprocessor(tree, tuple(predefined))
    try:
        for name in includes:
            preprocessor.include(name)
        for overlay in overlays:
            preprocessor.read(overlay)
        return _syntax(preprocessor, keep)
    except RecursionError:
        raise HeaderError("nested too deeply", file=preprocessor.files[-1]) from None


def _syntax(preprocessor: Preprocessor, keep: frozenset[str]) -> HeaderSyntax:
    tokens = preprocessor.tokens
    end = tokens[-1] if tokens else Token("other", "", SourceFile("<nothing>", ""), 0)
    parser = DeclarationParser(tokens, end)
    declarations = parser.parse()
    macros = {
        name: _macro(name, macro, preprocessor, keep)
        for name, macro in preprocessor.macros.items()
        if macro.name.file.name != PREDEFINED
    }
    return HeaderSyntax(
        declarations=declarations,
        macros=macros,
        files=tuple(dict.fromkeys(preprocessor.files[1:])),
        typedefs=frozenset(parser.typedefs),
        notes=tuple(preprocessor.notes),
    )


def _macro(
    name: str, macro: Macro, preprocessor: Preprocessor, keep: frozenset[str]
) -> MacroSyntax:
    at = macro.name
    problem = ""
    for arguments in _argument_lists(macro):
        try:
            call = _call(name, at, arguments, keep)
            expanded = tuple(preprocessor.expander.expand(call))
        except Unfinished as unfinished:
            problem = f"the arguments of {unfinished.at.text} are not closed"
        except HeaderError as error:
            if preprocessor.budget.left < 0:
                raise
            problem = error.message
        else:
            names = arguments or ()
            return MacroSyntax(
                name, macro.parameters, macro.variadic, macro.body, expanded, at, "", names
            )
    return MacroSyntax(name, macro.parameters, macro.variadic, macro.body, (), at, problem)


def _argument_lists(macro: Macro) -> Iterator[tuple[str, ...] | None]:
    """What to call a macro with: None for no call, and several counts for a variadic one."""
    if macro.parameters is None:
        yield None
        return
    names = tuple(PARAMETER + name for name in macro.parameters)
    if not macro.variadic:
        yield names
        return
    for count in range(1, MAX_VARIADIC + 1):
        more = tuple(f"{PARAMETER}argument{number}" for number in range(1, count + 1))
        yield (*names[:-1], *more)


def _call(
    name: str, at: Token, arguments: tuple[str, ...] | None, keep: frozenset[str]
) -> list[Token]:
    start = Token(at.kind, name, at.file, at.offset, at.space, keep)
    if arguments is None:
        return [start]
    tokens = [start, Token(PUNCT, "(", at.file, at.offset)]
    for argument in arguments:
        tokens += [
            Token(IDENT, argument, at.file, at.offset),
            Token(PUNCT, ",", at.file, at.offset),
        ]
    if arguments:
        tokens.pop()
    return [*tokens, Token(PUNCT, ")", at.file, at.offset)]
