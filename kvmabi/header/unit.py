"""What all headers say together: declarations in their order, and macros."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from kvmabi.header.lexer import Token
from kvmabi.header.syntax import TypeSyntax


@dataclass(frozen=True, slots=True)
class Declaration:
    """An outermost declaration: `kind` is "typedef", "object" or "type" (which names nothing)."""

    kind: str
    name: str | None
    type: TypeSyntax
    at: Token


PARAMETER: Final = "kvmabi_parameter_"
"""What the names start with that stand for the parameters of a macro in its expanded body."""


@dataclass(frozen=True, slots=True)
class MacroSyntax:
    """A macro that is defined at the end; an object-like one has its body expanded in `expanded`.

    `parameters` is None for an object-like macro. A function-like one is expanded with `arguments`,
    names that start with `PARAMETER` (more of them than `parameters` where it is variadic).
    `problem` says why a body could not be expanded.
    """

    name: str
    parameters: tuple[str, ...] | None
    variadic: bool
    body: tuple[Token, ...]
    expanded: tuple[Token, ...]
    at: Token
    problem: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderSyntax:
    """All that a set of headers says: declarations in their order, and the macros at the end.

    `files` are the names of the headers that were read, in the order in which they were opened.
    `typedefs` are the type names in scope at the end, which a macro's body may use.
    """

    declarations: tuple[Declaration, ...]
    macros: dict[str, MacroSyntax]
    files: tuple[str, ...]
    typedefs: frozenset[str]
    notes: tuple[str, ...] = field(default=())
