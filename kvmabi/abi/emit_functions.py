"""Function-like macro -> the text of a Python function."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kvmabi.abi.model import FunctionMacro

HELPERS = ("check", "count", "divide", "offset_of", "remainder", "signed")
"""What `kvmabi.uapi._functions` offers; in a module each has a "_" before its name."""


def helpers_of(text: str) -> list[str]:
    """The helpers that the text of functions uses."""
    return [name for name in HELPERS if re.search(rf"(?<!\w)_{name}\(", text)]


def write_functions(macros: Iterable[FunctionMacro]) -> str:
    """The functions of all macros that are one, two lines apart."""
    return "\n\n".join(_write(macro) for macro in macros if macro.function is not None)


def _write(macro: FunctionMacro) -> str:
    function = macro.function
    assert function is not None
    hints = ", ".join(f"{name}: {kind}" for name, kind in function.parameters)
    numbers = ", ".join(name for name, kind in function.parameters if kind == "int")
    lines = [f"def {macro.name}({hints}) -> int:", f'    """`{function.c_type}`."""']
    if numbers:
        lines.append(f"    _check({numbers})")
    return "\n".join([*lines, f"    return {_outermost(function.expression)}"]) + "\n"


def _outermost(text: str) -> str:
    """The text without parentheses around all of it."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and index < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") else text
