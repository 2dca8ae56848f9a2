from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from kvmabi.results import Disagreement, RunRecord, Tally, Verdict
from kvmabi.results.summary import hex_or_text
from kvmabi.results.terminal import FINDINGS_SHOWN, LiveProgress, print_summary, summary_console

PROMISES = {1: "Signals exactly once.", 4: "Matches nothing else."}


def shown(run: RunRecord, tally: Tally, *, width: int = 120, interrupted: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    print_summary(
        console,
        run,
        tally,
        17.24,
        promises=PROMISES,
        repro="kvmabi matrix --repro",
        interrupted=interrupted,
    )
    return out.getvalue()


def row(text: str, start: str) -> list[str]:
    """The words of the line that starts so."""
    return next(line.split() for line in text.splitlines() if line.startswith(start))


@pytest.fixture
def tally(make_case) -> Tally:
    tally = Tally(6)
    tally.add(make_case("a", bus="mmio", length="4"))
    tally.add(make_case("b", Verdict.FAIL, bus="mmio", length="4"))
    tally.add(make_case("c", bus="mmio", length="0"))
    tally.add(make_case("d", Verdict.SKIP, bus="pio", length="0"))
    tally.add(make_case("e", bus="pio", length="bad"))
    tally.add(dataclasses.replace(make_case("f", bus="pio", length="bad"), phase="clash"))
    return tally


def test_the_bus_table_counts_every_case(run_record, tally: Tally) -> None:
    text = shown(run_record, tally)
    assert row(text, "bus") == ["bus", "len", "0", "len", "4", "bad", "all"]
    assert row(text, "mmio") == ["mmio", "1", "1/2", "-", "2/3"]
    assert row(text, "pio") == ["pio", "0/1", "-", "2", "2/3"]


def test_the_phase_table_counts_every_verdict(run_record, tally: Tally) -> None:
    text = shown(run_record, tally)
    assert row(text, "phase") == ["phase", "cases", "pass", "fail", "skip"]
    assert row(text, "assigned") == ["assigned", "5", "3", "1", "1"]
    assert row(text, "clash") == ["clash", "1", "1", "-", "-"]


def test_a_disagreement_is_shown_whole(run_record, tally: Tally) -> None:
    lines = [line.rstrip() for line in shown(run_record, tally).splitlines()]
    start = lines.index("fail b")
    assert lines[start + 1 : start + 6] == [
        "  promise 1   Signals exactly once.",
        "    step      write 0",
        "    expected  {signals: 1}",
        "    seen      {signals: 0}",
        "  kvmabi matrix --repro b",
    ]


def test_many_disagreements_of_one_case_are_cut_and_counted(run_record, make_case) -> None:
    one = Disagreement("write", 4, 0, 1)
    tally = Tally(1)
    tally.add(dataclasses.replace(make_case("a", Verdict.FAIL), disagreements=(one,) * 64))
    text = shown(run_record, tally)
    assert text.count("Matches nothing else.") == 4
    assert "and 60 more disagreements" in text


@pytest.mark.parametrize("length", [300, 301, 30_000])
def test_a_step_of_very_many_accesses_is_cut_in_the_middle(
    run_record, make_case, length: int
) -> None:
    step = f"first{'x' * (length - 9)}last"
    tally = Tally(1)
    one = Disagreement(step, 4, 0, 1)
    tally.add(dataclasses.replace(make_case("a", Verdict.FAIL), disagreements=(one,)))
    text = "".join(shown(run_record, tally).split())
    assert (step in text) is (length == 300)
    assert "first" in text
    assert "last" in text
    assert (f"[...{length - 300:,}characters...]" in text) is (length > 300)


def test_fails_come_before_errors_and_the_rest_is_counted(run_record, make_case) -> None:
    tally = Tally(FINDINGS_SHOWN + 1)
    tally.add(make_case("a-error", Verdict.ERROR))
    for number in range(FINDINGS_SHOWN):
        tally.add(make_case(f"z-{number}", Verdict.FAIL))
    text = shown(run_record, tally)
    assert "a-error" not in text
    assert text.count("--repro z-") == FINDINGS_SHOWN
    assert "and 1 more" in text


def test_an_unjudged_case_says_why(run_record, make_case) -> None:
    tally = Tally(1)
    tally.add(make_case("a", Verdict.ERROR))
    text = shown(run_record, tally)
    assert "error a\n  reason  no such capability" in text
    assert "--repro a" in text


def test_the_closing_line_says_it_all(run_record, tally: Tally) -> None:
    assert shown(run_record, tally).splitlines()[-1] == (
        "matrix: 6 cases: 4 pass, 1 fail, 1 skip (no such capability: 1) in 17.2 s: "
        "Linux 6.18.0-test, kvm_none, ABI 7.2, valid mask 0x1f from BTF"
    )


def test_the_closing_line_is_not_broken_on_a_narrow_screen(run_record, tally: Tally) -> None:
    assert shown(run_record, tally, width=40).splitlines()[-1].startswith("matrix: 6 cases: ")


def test_an_unsound_run_says_so(run_record, tally: Tally) -> None:
    tally.planned = 7
    lines = shown(run_record, tally).splitlines()
    assert "harness: 7 cases were planned and 6 executed" in lines
    assert lines[-1].startswith("matrix: 6 of 7 cases: ")


def test_an_interrupted_run_says_so_and_is_no_harness_problem(run_record, tally: Tally) -> None:
    tally.planned = 7
    text = shown(run_record, tally, interrupted=True)
    assert "harness:" not in text
    assert "in 17.2 s (interrupted): " in text


def test_an_empty_run_says_that_nothing_was_checked(run_record) -> None:
    text = shown(run_record, Tally(0))
    assert "nothing was checked" in text
    assert "matrix: 0 cases: 0 pass, 0 fail, 0 skip" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (4095, "4095"),
        (0xE000_0000, "0xe0000000"),
        (True, "True"),
        (None, "nothing"),
        ([1, None, 2**63], "[1, nothing, 0x8000000000000000]"),
        ({"signals": 1, "exits": []}, "{signals: 1, exits: []}"),
        ("[bold]EEXIST[/]", "[bold]EEXIST[/]"),
    ],
)
def test_values_read_as_an_expert_writes_them(value, text: str) -> None:
    assert hex_or_text(value) == text


def test_markup_in_a_value_stays_as_it_is(run_record, make_case) -> None:
    tally = Tally(1)
    odd = Disagreement("[bold]w[/]", 1, ":smile: [1]", "[/nothing]")
    tally.add(dataclasses.replace(make_case("a", Verdict.FAIL), disagreements=(odd,)))
    text = shown(run_record, tally)
    for part in ("[bold]w[/]", ":smile: [1]", "[/nothing]"):
        assert part in text


def draw(tally: Tally, *, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=terminal, color_system=None)
    with LiveProgress("matrix", tally, console=console) as progress:
        progress.refresh(force=True)
    return out.getvalue()


def test_progress_shows_cases_and_verdicts_on_a_terminal(tally: Tally, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    tally.planned = 12_345
    text = draw(tally, terminal=True)
    assert "6/12,345" in text
    assert "4 pass  1 fail  1 skip" in text


def test_there_is_no_progress_off_a_terminal(tally: Tally) -> None:
    assert draw(tally, terminal=False) == ""


def test_progress_is_not_drawn_at_every_record(tally: Tally, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    now = 0.0
    monkeypatch.setattr("kvmabi.results.terminal.time.monotonic", lambda: now)
    with LiveProgress("matrix", tally, console=console) as progress:
        progress.refresh()
        drawn = len(out.getvalue())
        for _ in range(100):
            progress.refresh()
        assert len(out.getvalue()) == drawn
        now = 1.0
        progress.refresh()
        assert len(out.getvalue()) > drawn


def test_no_color_is_honoured(run_record, tally: Tally, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    colours = {}
    for no_color in (False, True):
        monkeypatch.delenv("NO_COLOR", raising=False)
        if no_color:
            monkeypatch.setenv("NO_COLOR", "1")
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, width=120)
        print_summary(console, run_record, tally, 1.0, promises={}, repro="x")
        colours[no_color] = "\x1b[32m" in out.getvalue()
    assert colours == {False: True, True: False}


def test_off_a_terminal_tables_have_a_fixed_width(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "37")
    assert summary_console(io.StringIO()).width == 120
