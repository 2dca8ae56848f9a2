"""The proof of function-like macros: a compiler works them out for arguments taken at random.

A macro may be a GNU statement expression, which is no constant in C; so each call stands in a
function of its own, and the optimised intermediate code says what that returns.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kvmabi.abi.compare import Comparison
from kvmabi.abi.emit import in_abi
from kvmabi.abi.model import Abi, FunctionMacro, Record

CALLS_EACH: Final = 24
_RESULT: Final = re.compile(
    r"define [^\n]*@kvmabi_call_(\d+)\([^)]*\)[^{]*\{\n(?:[^}]*\n)?\s*ret i64 (-?\d+)", re.MULTILINE
)
_FORMS: Final = (3, 8, 16, 31, 32, 48, 64)


@dataclass(frozen=True, slots=True)
class Call:
    """One macro with arguments: numbers, or paths of fields."""

    macro: FunctionMacro
    arguments: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.macro.name}({', '.join(map(str, self.arguments))})"

    @property
    def c(self) -> str:
        """The call as C."""
        texts = (
            a if isinstance(a, str) else f"((unsigned long long){a}ULL)" for a in self.arguments
        )
        return f"{self.macro.name}({', '.join(texts)})"


def calls(abi: Abi, seed: int = 1) -> Iterator[Call]:
    """Calls of every function of the ABI; the same for the same seed."""
    for macro in abi.functions.values():
        if macro.function is None or not in_abi(macro.origin):
            continue
        generator = random.Random(f"{macro.name} {seed}")  # noqa: S311 (samples, no secrets)
        kinds = [kind for _, kind in macro.function.parameters]
        paths = [path for name in macro.function.records for path in _paths(abi.records[name])]
        for _ in range(CALLS_EACH if kinds else 1):
            yield Call(macro, tuple(_argument(kind, paths, generator) for kind in kinds))


def _argument(kind: str, paths: Sequence[str], generator: random.Random) -> int | str:
    if kind == "str":
        return generator.choice(paths)
    return generator.getrandbits(generator.choice(_FORMS))


def _paths(record: Record) -> Iterator[str]:
    """The fields of a record that offsetof takes, also those of its own records."""
    for field in record.fields:
        if field.name is None or field.bit_width is not None:
            continue
        yield field.name
        if isinstance(field.type, Record):
            yield from (f"{field.name}.{path}" for path in _paths(field.type))
        elif getattr(field.type, "count", None):
            yield f"{field.name}[1]"


def source(all_calls: Sequence[Call]) -> str:
    """The C that stands behind the headers: one function for each call."""
    lines = [
        f"unsigned long long kvmabi_call_{number}(void) {{ return {call.c}; }}\n"
        for number, call in enumerate(all_calls)
    ]
    return "#define offsetof(type, field) __builtin_offsetof(type, field)\n" + "".join(lines)


def results(code: str) -> dict[int, int]:
    """What each function returns, by its number, out of a compiler's intermediate code."""
    return {int(number): int(value) % (1 << 64) for number, value in _RESULT.findall(code)}


def compare(
    all_calls: Sequence[Call],
    theirs: Mapping[int, int],
    functions: Mapping[str, Any],
    comparison: Comparison,
) -> None:
    """Compare each call with what the compiler makes of it; `functions` are Python's, by name."""
    for number, call in enumerate(all_calls):
        function: Callable[..., int] | None = functions.get(call.macro.name)
        if function is None:
            comparison.check("function macros", str(call), "a function", False, True)
            continue
        try:
            ours = function(*call.arguments) % (1 << 64)
        except ValueError as problem:
            comparison.exclude(str(call), f"C does not define it: {problem}")
            continue
        comparison.check("function macros", str(call), "value", ours, theirs.get(number))
