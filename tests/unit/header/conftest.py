"""Headers from text: a tree in a temporary folder whose linux/kvm.h is what a test gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from kvmabi.header import HeaderSyntax, HeaderTree, parse
from kvmabi.header.lexer import spelling

ParseText = Callable[..., HeaderSyntax]


@pytest.fixture
def parse_text(tmp_path: Path) -> ParseText:
    def parse_it(
        text: str | bytes,
        files: Mapping[str, str] | None = None,
        predefined: Sequence[tuple[str, str]] = (),
    ) -> HeaderSyntax:
        for name, content in {"linux/kvm.h": text, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return parse(HeaderTree.of(tmp_path), predefined=predefined)

    return parse_it


@pytest.fixture
def expanded(parse_text: ParseText) -> Callable[..., str]:
    """What the macro RESULT stands for at the end of a text."""

    def expand(text: str, **kwargs: object) -> str:
        macro = parse_text(text, **kwargs).macros["RESULT"]
        assert not macro.problem, macro.problem
        return spelling(macro.expanded)

    return expand
