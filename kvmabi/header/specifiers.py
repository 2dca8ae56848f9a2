"""Type specifiers: words that make a basic type, and words that say nothing about layout."""

from __future__ import annotations

from collections import Counter
from typing import Final

BASIC_WORDS: Final = frozenset(
    {
        "void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "_Bool",
        "__int128", "__int128_t", "__uint128_t", "__signed", "__signed__", "_Complex",
        "__complex__", "_Float128", "__float128",
    }
)  # fmt: skip
IGNORED_WORDS: Final = frozenset(
    {
        "const", "volatile", "restrict", "__const", "__const__", "__volatile__", "__volatile",
        "__restrict", "__restrict__", "inline", "__inline", "__inline__", "register", "auto",
        "_Noreturn", "__extension__", "_Thread_local", "__thread", "_Atomic", "static", "extern",
    }
)  # fmt: skip
ATTRIBUTE_WORDS: Final = frozenset({"__attribute__", "__attribute"})
ALIGN_WORDS: Final = frozenset({"_Alignas", "alignas"})
STATIC_ASSERTS: Final = frozenset({"_Static_assert", "static_assert"})
TYPEOF_WORDS: Final = frozenset({"typeof", "__typeof__", "__typeof"})
ASM_WORDS: Final = frozenset({"asm", "__asm__", "__asm"})

_SPELLED: Final = {"__signed": "signed", "__signed__": "signed", "__complex__": "_Complex"}
_WHOLE: Final = {
    "void": "void",
    "_Bool": "_Bool",
    "float": "float",
    "double": "double",
    "double long": "long double",
    "_Float128": "_Float128",
    "__float128": "_Float128",
    "__int128_t": "__int128",
    "__uint128_t": "unsigned __int128",
}


def basic_type(words: list[str]) -> str | None:
    """The usual name of the type that these words make in any order, None if they make none."""
    counts = Counter(_SPELLED.get(word, word) for word in words)
    joined = " ".join(sorted(counts.elements()))
    if joined in _WHOLE:
        return _WHOLE[joined]
    signed, unsigned = counts.pop("signed", 0), counts.pop("unsigned", 0)
    if signed + unsigned > 1:
        return None
    base = _integer_base(counts)
    if base is None:
        return None
    if unsigned:
        return f"unsigned {base}"
    return "signed char" if base == "char" and signed else base


def _integer_base(counts: Counter[str]) -> str | None:
    longs = counts.pop("long", 0)
    ints = counts.pop("int", 0)
    others = list(counts.elements())
    if ints > 1 or longs > 2 or len(others) > 1:
        return None
    if longs:
        return None if others else ("long" if longs == 1 else "long long")
    if not others:
        return "int"
    word = others[0]
    if word == "short":
        return "short"
    return word if word in ("char", "__int128") and not ints else None
