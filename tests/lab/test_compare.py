"""Two of Debian's kernels in one command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode
from kvmabi.results import read_result

pytestmark = pytest.mark.lab


def compare(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmabi", "lab", "compare", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )


def test_a_kernel_beside_itself_on_another_back_end(tmp_path: Path) -> None:
    one = ["--old", "debian:6.1", "--new", "debian:6.1", "--new-backend", "svm-shadow"]
    kept = ["--keep", str(tmp_path), "--json", "-"]
    done = compare(*one, *kept, "--", "matrix", "--filter", "pio-len4-eq")
    assert done.returncode == ExitCode.KEPT, done.stderr
    found = json.loads(done.stdout)
    assert found["compared"] == found["counts"]["same"] > 100
    assert "the labs' back ends differ, svm and svm-shadow" in found["notes"]
    lab = read_result(tmp_path / "new.jsonl").run.host["lab"]
    assert isinstance(lab, dict)
    assert str(lab["repro"]).endswith("--backend svm-shadow -- matrix --repro")


@pytest.mark.lab_full
def test_debians_6_1_and_6_12_keep_the_same_promises() -> None:
    done = compare("--old", "debian:6.1", "--new", "debian:6.12", "--", "matrix")
    assert done.returncode == ExitCode.KEPT, done.stdout + done.stderr
    assert "0 regressed, 0 fixed" in done.stdout


@pytest.mark.lab_full
def test_what_the_probe_finds_in_both_is_compared(tmp_path: Path) -> None:
    kernels = ["--old", "debian:6.1", "--new", "debian:6.12", "--keep", str(tmp_path)]
    done = compare(*kernels, "--json", "-", "--", "probe", "--only", "caps,ioeventfd")
    assert done.returncode in (ExitCode.KEPT, ExitCode.BROKEN), done.stderr
    found = json.loads(done.stdout)
    assert found["type"] == "probe-comparison"
    assert "6.1." in found["older"]
    assert "6.12." in found["newer"]
    assert found["gained"]
