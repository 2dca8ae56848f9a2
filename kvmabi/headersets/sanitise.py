"""A kernel's own header -> the header that programs get, as `make headers_install` makes it.

What only the kernel may see goes (`__KERNEL__`), the words that only its compiler settings know are
spelled as every compiler takes them, and include guards lose their `_UAPI`.

Source: the kernel's scripts/headers_install.sh, and the unifdef that it calls.
"""

from __future__ import annotations

import re
from typing import Final

_KNOWN: Final = {"__KERNEL__": False, "__EXPORTED_HEADERS__": True}

_WORDS: Final = (
    (re.compile(r"([\s(])(?:__user|__force|__iomem)\s"), r"\1"),
    (re.compile(r"__attribute_const__(\s|$)"), r"\1"),
    (re.compile(r"^#include <linux/compiler(?:|_types)\.h>"), ""),
    (
        re.compile(r"(^|[^a-zA-Z0-9])__packed([^a-zA-Z0-9_]|$)"),
        r"\1__attribute__((packed))\2",
    ),
    (re.compile(r"(^|[\s(])(inline|asm|volatile)([\s(]|$)"), r"\1__\2__\3"),
    (re.compile(r"#(ifndef|define|endif\s*/[*])\s*_UAPI"), r"#\1 "),
)
_DIRECTIVE: Final = re.compile(r"\s*#\s*(ifdef|ifndef|if|elif|else|endif)\b(.*)", re.DOTALL)
_COMMENT: Final = re.compile(r"/\*.*?(?:\*/|$)|//[^\n]*", re.DOTALL)
_TOKEN: Final = re.compile(r"\s*(defined\b|&&|\|\||[!()]|\w+|[^\s\w])")
_SPLICED: Final = re.compile(r"[^\n]*\\[ \t]*\r?\n")


def sanitise(text: str) -> str:
    """The header as programs get it."""
    lines = [_respell(line) for line in text.splitlines(keepends=True)]
    return "".join(_Unifdef().run("".join(lines)))


def _respell(line: str) -> str:
    body, end = (line[:-1], "\n") if line.endswith("\n") else (line, "")
    for pattern, replacement in _WORDS:
        body = pattern.sub(replacement, body)
    return body + end


class _Unifdef:
    """Takes out the conditions that `_KNOWN` decides, and the lines that are then never read.

    Each open condition is "open" (left as it is), "on" (its lines stay, its directives go), "off"
    (nothing so far), or "done" (one branch stayed, all others go).
    """

    def __init__(self) -> None:
        self.stack: list[str] = []

    def run(self, text: str) -> list[str]:
        kept = []
        for line in _logical_lines(text):
            match = _DIRECTIVE.match(line)
            if match is None:
                if self._visible():
                    kept.append(line)
            else:
                kept += self._directive(match.group(1), match.group(2), line)
        return kept

    def _visible(self) -> bool:
        return not any(state in ("off", "done") for state in self.stack)

    def _directive(self, word: str, rest: str, line: str) -> list[str]:
        if word in ("if", "ifdef", "ifndef"):
            visible = self._visible()
            value = _value(word, rest)
            self.stack.append("open" if value is None else "on" if value else "off")
            return [line] if visible and value is None else []
        if not self.stack:
            return [line]
        state = self.stack.pop()
        if word == "endif":
            return [line] if state == "open" and self._visible() else []
        outer = self._visible()
        self.stack.append(state)
        if state == "open":
            return [line] if outer else []
        if state in ("on", "done"):
            self.stack[-1] = "done"
            return []
        value = True if word == "else" else _value("if", rest)
        self.stack[-1] = "open" if value is None else "on" if value else "off"
        if value is None and outer:
            return [line.replace("elif", "if  ", 1)]
        return []


def _logical_lines(text: str) -> list[str]:
    """Lines, with those that a backslash or a comment carries on joined to one."""
    lines: list[str] = []
    held = ""
    for line in text.splitlines(keepends=True):
        held += line
        if _SPLICED.fullmatch(line) or _in_comment(held):
            continue
        lines.append(held)
        held = ""
    return [*lines, held] if held else lines


def _in_comment(text: str) -> bool:
    if "/*" not in text:
        return False
    last = ""
    for match in _COMMENT.finditer(text):
        last = match[0]
    return last.startswith("/*") and not (last.endswith("*/") and len(last) > 3)


def _value(word: str, rest: str) -> bool | None:
    """What a condition is for every program; None where that is not decided."""
    rest = _COMMENT.sub(" ", rest).replace("\\\n", " ").strip()
    if word != "if":
        known = _KNOWN.get(rest)
        return known if word == "ifdef" or known is None else not known
    parser = _Condition(_TOKEN.findall(rest))
    value = parser.either()
    return value if parser.at == len(parser.tokens) else None


class _Condition:
    """Three-valued logic over `defined`, `!`, `&&`, `||` and brackets; all else is unknown."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0

    def _take(self, *wanted: str) -> bool:
        found = self.at < len(self.tokens) and self.tokens[self.at] in wanted
        self.at += found
        return found

    def either(self) -> bool | None:
        value = self.both()
        while self._take("||"):
            other = self.both()
            value = True if value or other else None if None in (value, other) else False
        return value

    def both(self) -> bool | None:
        value = self.one()
        while self._take("&&"):
            other = self.one()
            if value is False or other is False:
                value = False
            else:
                value = None if None in (value, other) else True
        return value

    def one(self) -> bool | None:
        if self._take("!"):
            value = self.one()
            return None if value is None else not value
        if self._take("("):
            value = self.either()
            if not self._take(")"):
                self.at = len(self.tokens) + 1
            return value
        if self._take("defined"):
            bracket = self._take("(")
            name = self.tokens[self.at] if self.at < len(self.tokens) else ""
            self.at += 1
            if bracket and not self._take(")"):
                self.at = len(self.tokens) + 1
            return _KNOWN.get(name)
        self.at += 1
        while self.at < len(self.tokens) and self.tokens[self.at] not in ("&&", "||", ")"):
            if self.tokens[self.at] == "(":
                self.at += 1
                self.either()
            self.at += 1
        return None
