"""The command: options, saved reports, and exit codes; no device is asked."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from kvmabi.cli import main
from kvmabi.errors import ExitCode
from kvmabi.probing.report import Report

from .conftest import CAPS, CPUID, make_report


def save(path: Path, report: Report) -> str:
    path.write_text(json.dumps(report.to_json()))
    return str(path)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[str, str]:
    """A report of 6.1, and one of 6.12 that has a capability less."""
    less = copy.deepcopy(CAPS)
    less["capabilities"][0] |= {"system": 0, "vm": 0}
    older = save(tmp_path / "old.json", make_report("6.1.0", caps=CAPS, cpuid=CPUID))
    newer = save(tmp_path / "new.json", make_report("6.12.0", caps=less, cpuid=CPUID))
    return older, newer


def test_a_saved_report_is_shown_again(saved: tuple[str, str], capsys: Any) -> None:
    assert main(["probe", saved[0]]) == ExitCode.KEPT
    text = capsys.readouterr().out
    assert "Linux 6.1.0 x86_64 · kvm_intel (vmx) · A CPU" in text
    assert "Capabilities" in text


def test_markdown(saved: tuple[str, str], capsys: Any) -> None:
    assert main(["probe", saved[0], "--markdown"]) == ExitCode.KEPT
    assert capsys.readouterr().out.startswith("## Linux 6.1.0 x86_64")


def test_only_some_sections(saved: tuple[str, str], capsys: Any) -> None:
    assert main(["probe", saved[0], "--only", "caps", "--json", "-"]) == ExitCode.KEPT
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)["sections"]) == ["caps"]
    assert captured.err == ""


def test_json_to_a_file_leaves_the_terminal_its_report(
    saved: tuple[str, str], tmp_path: Path, capsys: Any
) -> None:
    target = tmp_path / "again.json"
    assert main(["probe", saved[0], "--json", str(target)]) == ExitCode.KEPT
    assert json.loads(target.read_text()) == json.loads(Path(saved[0]).read_text())
    assert "Capabilities" in capsys.readouterr().out


@pytest.mark.parametrize("swap", [False, True])
def test_a_loss_is_exit_1_whichever_side_is_named_first(
    saved: tuple[str, str], capsys: Any, *, swap: bool
) -> None:
    one, other = reversed(saved) if swap else saved
    assert main(["probe", one, "--compare", other]) == ExitCode.BROKEN
    text = capsys.readouterr().out
    assert "LOST" in text
    assert "KVM_CAP_TEST_1  yes    no" in text


def test_no_loss_is_exit_0(saved: tuple[str, str], tmp_path: Path, capsys: Any) -> None:
    newer = save(tmp_path / "newest.json", make_report("7.0.0", caps=CAPS, cpuid=CPUID))
    assert main(["probe", saved[0], "--compare", newer]) == ExitCode.KEPT
    assert "nothing lost, 0 gained" in capsys.readouterr().out


def test_a_gain_alone_is_exit_0(saved: tuple[str, str], tmp_path: Path, capsys: Any) -> None:
    newer = save(tmp_path / "newest.json", make_report("7.0.0", caps=CAPS, cpuid=CPUID))
    assert main(["probe", saved[1], "--compare", newer, "--json", "-"]) == ExitCode.KEPT
    found = json.loads(capsys.readouterr().out)
    assert [one["what"] for one in found["gained"]] == ["KVM_CAP_TEST_1"]
    assert found["lost"] == []


def test_a_comparison_of_nothing_is_no_success(saved: tuple[str, str]) -> None:
    arguments = ["probe", saved[0], "--compare", saved[1], "--only", "msrs"]
    assert main(arguments) == ExitCode.NOTHING_CHECKED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "capps"], "no section capps"),
        (["--compare", "running"], "nothing to compare"),
        (["missing.json"], "cannot read missing.json"),
        (["--headers", "/no/such/folder"], "is no source of headers"),
        (["--headers", "5.4"], "6.1, 6.12, 7.2"),
        (["--headers", ""], "must not be empty"),
        (["x.json", "--headers", "6.1"], "a saved report has its own names"),
    ],
)
def test_usage(arguments: list[str], message: str, capsys: Any) -> None:
    assert main(["probe", *arguments]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("names", ["", ",", " , "])
def test_no_section_at_all_is_not_every_section(names: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["probe", "--only", names])
    assert ended.value.code == ExitCode.USAGE
    assert "names no section; there are: substrate" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"type": "run"}'])
def test_a_file_that_is_no_report(tmp_path: Path, text: str, capsys: Any) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert main(["probe", str(path)]) == ExitCode.USAGE
    assert "Traceback" not in capsys.readouterr().err


def test_a_report_without_kvm_is_exit_3_with_the_remedy(tmp_path: Path, capsys: Any) -> None:
    kvm = {"available": False, "situation": "no-permission", "reason": "why", "remedy": "what"}
    report = Report.from_json(make_report().to_json() | {"kvm": kvm})
    path = save(tmp_path / "none.json", report)
    assert main(["probe", path, "--json", "-"]) == ExitCode.NOTHING_CHECKED
    captured = capsys.readouterr()
    assert json.loads(captured.out)["kvm"] == kvm
    assert captured.err.splitlines() == [
        "kvmabi probe: no KVM (no-permission): why",
        "what to do: what",
    ]


def test_a_failed_section_is_exit_4(tmp_path: Path, capsys: Any) -> None:
    body = make_report().to_json()
    body["sections"] = {
        "caps": {"status": "failed", "seconds": 0.1, "reason": "EFAULT", "data": None}
    }
    path = tmp_path / "failed.json"
    path.write_text(json.dumps(body))
    assert main(["probe", str(path)]) == ExitCode.HARNESS_FAILED
    assert "failed: caps" in capsys.readouterr().err
