"""What people see: the terminal, Markdown, and that nothing of a report is left out silently."""

from __future__ import annotations

import copy
import importlib
import io
from typing import Any

import pytest
from rich.console import Console

from kvmabi.probing.report import Section
from kvmabi.probing.run import SECTIONS
from kvmabi.probing.show import markdown, terminal
from kvmabi.probing.show.model import Cell, Flow, Note, Pairs, Table

from .conftest import CAPS, CPUID, capability, make_report


def drawn(report: Any, *, width: int = 100) -> str:
    file = io.StringIO()
    terminal.print_report(Console(file=file, width=width), report)
    return file.getvalue()


def test_every_section_can_be_asked_and_shown() -> None:
    for kind in SECTIONS:
        assert hasattr(importlib.import_module(f"kvmabi.probing.gather.{kind.name}"), "gather")
        shown = importlib.import_module(f"kvmabi.probing.show.{kind.name}")
        assert hasattr(shown, "blocks")
        assert hasattr(shown, "facts")


def test_what_is_missing_stands_out() -> None:
    caps = copy.deepcopy(CAPS)
    caps["missing_common"] = [{"name": "KVM_CAP_IRQFD", "since": "2.6", "what": "interrupts"}]
    caps["unknown"] = [{"number": 250, "system": 1, "vm": 1}]
    text = drawn(make_report(caps=caps))
    assert "• 1 capabilities are missing" in text
    assert "MISSING here" in text
    assert "unknown capability 250 = 1: newer than this ABI (7.2)" in text
    assert "MISSING" not in drawn(make_report(caps=CAPS))


def test_masks_are_named_and_limits_have_units() -> None:
    text = drawn(make_report(caps=CAPS))
    assert "0x3  A, B" in text
    assert "1,000  things at most" in text


def test_system_and_vm_that_differ_are_both_shown() -> None:
    caps = copy.deepcopy(CAPS)
    caps["capabilities"].append(capability(9, 0xF, bits=["X_A", "X_B"], unnamed_bits=0xC))
    caps["capabilities"][-1] |= {"vm": 1, "vm_decoded": {"bits": ["X_A"], "unnamed_bits": 0}}
    text = drawn(make_report(caps=caps))
    assert "0xf / 0x1" in text
    assert "0xc without a name; VM: X_A" in text


def test_a_section_that_failed_gives_its_reason() -> None:
    report = make_report(caps=CAPS)
    report.sections["msrs"] = Section("failed", 0.1, "KVM_GET_MSRS: EFAULT")
    assert "failed: KVM_GET_MSRS: EFAULT" in drawn(report)
    assert "**failed: KVM_GET_MSRS: EFAULT**" in markdown.render_report(report)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_off_a_terminal_ends_in_spaces(width: int) -> None:
    lines = drawn(make_report(caps=CAPS, cpuid=CPUID), width=width).splitlines()
    assert len(lines) > 20
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b", "a_b"),
        ("_a_", r"\_a\_"),
        ("a|b", r"a\|b"),
        ("<b>*`[", r"\<b\>\*\`\["),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_is_escaped(text: str, escaped: str) -> None:
    assert markdown.escape(text) == escaped


def test_markdown_blocks() -> None:
    blocks = [
        Pairs((("name", Cell("value", "bad")),)),
        Table("T", ("a", ">b"), ((Cell("x"), Cell("1")),)),
        Flow("F", ("one", "two")),
        Flow("Empty", ()),
        Note("plain", "dim"),
    ]
    assert "\n".join(markdown.render_blocks(blocks)).split("\n") == [
        "|  |  |",
        "| --- | --- |",
        "| name | **value** |",
        "",
        "**T**",
        "",
        "| a | b |",
        "| --- | ---: |",
        "| x | 1 |",
        "",
        "**F**: `one`, `two`",
        "",
        "**Empty**: none",
        "",
        "plain",
        "",
    ]


def test_a_long_list_is_folded_away_in_markdown() -> None:
    lines = list(markdown.render_blocks([Flow("F", tuple(map(str, range(100))))]))
    assert lines[:2] == ["<details>", "<summary>F</summary>"]
