"""``kvmabi compare`` as a command: files in, lines and exit codes out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmabi import cli
from kvmabi.errors import ExitCode
from kvmabi.results import CaseRecord, Disagreement, RunRecord, Tally, Verdict
from kvmabi.results.record import to_line

from .probe.conftest import capability, make_report

RUN = RunRecord(
    verb="matrix",
    kvmabi="0.1.0",
    started="2026-01-02T03:04:05+00:00",
    host={"kernel_release": "6.1.0", "kernel_version": "#1", "back_end": "kvm_none"},
    abi={"version": "7.2", "mask": 0x1F, "mask_source": "BTF"},
    options={"filter": []},
    planned=2,
)
WRONG = Disagreement("write 0", 1, "no exit", "KVM_EXIT_IO write of 4 at 0xc080")


def case(name: str, verdict: Verdict = Verdict.PASS, reason: str = "") -> CaseRecord:
    wrong = (WRONG,) if verdict is Verdict.FAIL else ()
    return CaseRecord(name, verdict, 0.01, "pio", "4", "match", (1,), reason, wrong)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """Writes a result to a file and returns its name; `end=False` is a run that was killed."""

    def save(name: str, *cases: CaseRecord, end: bool = True, **run: object) -> str:
        tally = Tally(len(cases))
        tally.add_all(cases)
        record = dataclasses.replace(RUN, planned=len(cases) + (not end), **run)  # type: ignore[arg-type]
        lines = [record, *cases, *([tally.end_record(1.0)] if end else [])]
        (tmp_path / name).write_bytes(b"".join(map(to_line, lines)))
        return str(tmp_path / name)

    return save


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., str]:
    """Writes a probe's report to a file and returns its name."""

    def save(name: str, release: str, value: int) -> str:
        caps = {
            "abi_version": "7.2",
            "newest": 5,
            "asked_below": 1024,
            "capabilities": [capability(1, value)],
            "unknown": [],
            "missing_common": [],
        }
        (tmp_path / name).write_text(
            json.dumps(make_report(release, caps=caps).to_json(), indent=1)
        )
        return str(tmp_path / name)

    return save


def test_a_regression_is_shown_whole(saved, capsys) -> None:
    old = saved("old", case("a"), case("b"))
    new = saved("new", case("a", Verdict.FAIL), case("b"), abi={**RUN.abi, "mask": 0x3F})
    assert cli.main(["compare", old, new]) == ExitCode.BROKEN
    out, err = capsys.readouterr()
    lines = [line.rstrip() for line in out.splitlines()]
    assert err == ""
    assert lines[0] == "old  Linux 6.1.0, kvm_none, ABI 7.2, valid mask 0x1f from BTF (2 pass)"
    assert lines[1].endswith("valid mask 0x3f from BTF (1 pass, 1 fail)")
    assert "note: the valid masks differ, 0x1f and 0x3f" in lines
    start = lines.index("REGRESSED: old kept the promise, new breaks it (1)")
    assert lines[start + 1] == "pass -> fail  a"
    assert lines[start + 2].startswith("  promise 1   A guest write that matches a registration")
    assert lines[start + 3 : start + 8] == [
        "    step      write 0",
        "    expected  no exit",
        "    old saw   what was expected",
        "    new saw   KVM_EXIT_IO write of 4 at 0xc080",
        "  kvmabi matrix --repro a",
    ]
    assert lines[-1] == "matrix: 1 regressed, 0 fixed; 1 the same of 2 compared"


def test_a_capability_that_is_gone_is_told_though_every_case_passes(saved, capsys) -> None:
    name = "KVM_CAP_IOEVENTFD_ANY_LENGTH"
    has, lacks = ({**RUN.abi, "any_length": one} for one in (True, False))
    old, new = saved("old", case("a"), abi=has), saved("new", case("a"), abi=lacks)
    assert cli.main(["compare", old, new]) == ExitCode.BROKEN
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith(f"valid mask 0x1f from BTF, no {name} (1 pass)")
    assert f"WITHDRAWN: {name}, which old has and new has not" in lines
    assert f"note: the answers to {name} differ, yes and no" in lines
    assert lines[-1] == "matrix: 1 withdrawn, 0 regressed, 0 fixed; 1 the same of 1 compared"
    assert cli.main(["compare", new, old]) == ExitCode.KEPT


def test_the_other_way_round_it_is_fixed(saved, capsys) -> None:
    old = saved("old", case("a", Verdict.FAIL), case("b"))
    new = saved("new", case("a"), case("b"))
    assert cli.main(["compare", old, new]) == ExitCode.KEPT
    out = capsys.readouterr().out
    assert "Fixed (1)\n  fail -> pass: a\n" in out
    assert out.endswith("matrix: 0 regressed, 1 fixed; 1 the same of 2 compared\n")


def test_a_case_of_the_lab_names_the_labs_command(saved, capsys) -> None:
    lab = {
        "backend": "svm",
        "emulator": "E",
        "repro": "kvmabi lab run --kernel k -- matrix --repro",
    }
    host = {**RUN.host, "lab": lab}
    old, new = saved("old", case("a")), saved("new", case("a", Verdict.FAIL), host=host)
    assert cli.main(["compare", old, new]) == ExitCode.BROKEN
    assert "  kvmabi lab run --kernel k -- matrix --repro a\n" in capsys.readouterr().out


def test_a_lost_case_says_why(saved, capsys) -> None:
    old = saved("old", case("a"), case("b"))
    new = saved("new", case("a"), case("b", Verdict.ERROR, "the kernel was lost"))
    assert cli.main(["compare", old, new]) == ExitCode.HARNESS_FAILED
    out = capsys.readouterr().out
    assert "LOST: new could not tell (1)\npass -> error  b\n" in out
    assert "  new  the kernel was lost" in out


def test_a_run_that_was_cut_off_is_told_and_not_green(saved, capsys) -> None:
    old, new = saved("old", case("a"), case("b")), saved("new", case("a"), end=False)
    assert cli.main(["compare", old, new]) == ExitCode.HARNESS_FAILED
    out = capsys.readouterr().out
    assert "new is incomplete: the run was cut off: 1 of 2 cases have a verdict\n" in out
    assert "Only in old (1)\n  pass: b\n" in out


def test_many_cases_of_one_kind_are_cut_and_counted(saved, capsys) -> None:
    names = [f"c{number:02}" for number in range(30)]
    old = saved("old", *(case(name) for name in names))
    new = saved("new", *(case(name, Verdict.FAIL) for name in names))
    assert cli.main(["compare", old, new]) == ExitCode.BROKEN
    out = capsys.readouterr().out
    assert out.count("--repro c") == 20
    assert "and 10 more" in out
    assert cli.main(["compare", new, old]) == ExitCode.KEPT
    assert "  fail -> pass: c00, c01, c02, c03, c04, c05, and 24 more\n" in capsys.readouterr().out


def test_machine_output_owns_stdout(saved, capsys, tmp_path: Path) -> None:
    old, new = saved("old", case("a")), saved("new", case("a", Verdict.FAIL))
    assert cli.main(["compare", old, new, "--json", "-"]) == ExitCode.BROKEN
    out, err = capsys.readouterr()
    body = json.loads(out)
    assert body["counts"]["regressed"] == 1
    assert "1 regressed" in err
    file = tmp_path / "out.json"
    assert cli.main(["compare", old, new, "--json", str(file)]) == ExitCode.BROKEN
    assert json.loads(file.read_text()) == body


def test_markdown_has_a_row_for_each_disagreement(saved, capsys) -> None:
    old, new = saved("old", case("a|b")), saved("new", case("a|b", Verdict.FAIL), case("c"))
    assert cli.main(["compare", old, new, "--markdown"]) == ExitCode.BROKEN
    out = capsys.readouterr().out
    assert "## REGRESSED: old kept the promise, new breaks it (1)\n\n| case |" in out
    (row,) = (line for line in out.splitlines() if line.startswith("| `a"))
    assert row.startswith("| `a\\|b` | pass -> fail | 1: A guest write")
    assert row.endswith(
        "| write 0 | no exit | what was expected | KVM_EXIT_IO write of 4 at 0xc080 |"
    )
    assert "## Only in new (1)\n\n- pass: c\n" in out


def test_two_reports_of_the_probe_are_compared_as_they_are_named(report, capsys) -> None:
    old, new = report("old", "6.12.0", 1), report("new", "6.1.0", 0)
    assert cli.main(["compare", old, new]) == ExitCode.BROKEN
    assert "KVM_CAP_TEST_1" in capsys.readouterr().out
    assert cli.main(["compare", new, old, "--json", "-"]) == ExitCode.KEPT
    out, err = capsys.readouterr()
    assert [one["what"] for one in json.loads(out)["gained"]] == ["KVM_CAP_TEST_1"]
    assert "nothing lost" in err


def test_a_report_and_a_result_do_not_compare(report, saved, capsys) -> None:
    probe, matrix = report("probe", "6.1.0", 1), saved("matrix", case("a"))
    for names in ([probe, matrix], [matrix, probe]):
        assert cli.main(["compare", *names]) == ExitCode.USAGE
        said = f"kvmabi compare: {probe} is a report of kvmabi probe, and {matrix} is not\n"
        assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read"),
        ("", "no result of kvmabi matrix and no report of kvmabi probe"),
        ("no JSON", "no result of kvmabi matrix"),
        ("[1]", "no result of kvmabi matrix"),
        ('{"type": "bench"}', "no result of kvmabi matrix"),
        ('{"type": "run"}\n', "bad run record"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(saved, tmp_path: Path, capsys, content, said) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_text(content)
    assert cli.main(["compare", saved("good", case("a")), str(bad)]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert said in err
    assert str(bad) in err
    assert len(err.splitlines()) == 1


def test_a_result_beside_itself_is_no_comparison(saved, capsys) -> None:
    name = saved("one", case("a"))
    assert cli.main(["compare", name, name]) == ExitCode.USAGE
    assert "nothing to compare" in capsys.readouterr().err
