"""Kernels that are given PV_MMIO: the matrix covers it there without being told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode
from kvmabi.lab.backends import BACKENDS
from kvmabi.lab.build import config
from kvmabi.lab.build.changes import find_change
from kvmabi.lab.build.kernel import Recipe, build, follow
from kvmabi.lab.build.sources import find_source
from kvmabi.results import Verdict, read_result

pytestmark = [pytest.mark.lab, pytest.mark.lab_full, pytest.mark.builds]

VERSIONS = ("6.1", "6.12")
RUN_S = 7200
FAST = "kvm:kvm_fast_mmio"


def recipe(version: str, *patches: str) -> Recipe:
    def quiet(_text: str) -> None:
        """Say nothing."""

    source = find_source(f"debian:linux-source-{version}", quiet)
    changes = tuple(find_change(name) for name in patches)
    jobs = os.cpu_count() or 1
    return Recipe(source, changes, config.flavour("tiny"), jobs, quiet, quiet)


def kvmabi(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmabi", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )


def skip_without_an_emulator(done: subprocess.CompletedProcess[str]) -> None:
    """Only svm's is needed by all that boots; `make test-lab` needs each."""
    required = os.environ.get("KVMABI_REQUIRE_LAB") == "1"
    if done.returncode == ExitCode.NOTHING_CHECKED and "apt-get install" in done.stderr:
        (pytest.fail if required else pytest.skip)(done.stderr)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("back_end", [one for one in BACKENDS if one != "host"])
def test_every_case_of_the_flag_passes(version: str, back_end: str, tmp_path: Path) -> None:
    kernel = build(recipe(version, "pv-mmio"))
    out = tmp_path / "result.jsonl"
    words = ["lab", "run", "--kernel", str(kernel), "--backend", back_end]
    done = kvmabi(*words, "--", "matrix", "--filter", "pv-mmio", "--json", str(out))
    skip_without_an_emulator(done)
    result = read_result(out)
    assert done.returncode == ExitCode.KEPT, done.stdout + done.stderr
    assert len(result.cases) > 100
    assert {case.verdict for case in result.cases} == {Verdict.PASS}
    assert result.run.abi["mask"] == 0x3F
    assert result.run.abi["mask_source"] == "BTF"


@pytest.mark.parametrize(("back_end", "fast"), [("vmx", True), ("svm", False)])
def test_vmx_signals_without_decoding(back_end: str, fast: bool, tmp_path: Path) -> None:
    """The tracepoint of the fast path fires once for each write of the bench's row, or never."""
    kernel, out = build(recipe("6.1", "pv-mmio")), tmp_path / "bench.json"
    words = ["lab", "run", "--kernel", str(kernel), "--backend", back_end, "--trace", FAST]
    sizes = ["--rounds", "1", "--samples", "100", "--warmup", "10"]
    done = kvmabi(*words, "--", "bench", "--series", *sizes, "--json", str(out))
    skip_without_an_emulator(done)
    assert done.returncode == ExitCode.KEPT, done.stdout + done.stderr
    row = json.loads(out.read_text())["sides"]["kvmabi"]["mmio-pv-eventfd:pci-mem"]
    assert row["how"] == "pv-mmio"
    assert not row["void"]
    writes = row["rounds"][0]["made"] if fast else 0
    assert f"{FAST} fired {writes} times" in done.stderr


def test_a_kernel_without_the_flag_passes_by_refusing_it(tmp_path: Path) -> None:
    out = tmp_path / "result.jsonl"
    words = ["lab", "run", "--kernel", "debian:6.1", "--", "matrix", "--filter", "pv-mmio"]
    done = kvmabi(*words, "--json", str(out))
    result = read_result(out)
    assert done.returncode == ExitCode.KEPT, done.stdout + done.stderr
    assert result.run.abi["mask"] == 0x1F
    assert {case.verdict for case in result.cases} == {Verdict.PASS}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_abi_diff_shows_the_new_flag_and_nothing_broken(version: str) -> None:
    one = recipe(version, "pv-mmio")
    workspace = one.workspace()
    with workspace.locked(lambda: None):
        follow(one, workspace, one.files(workspace.known()))
        done = kvmabi("abi", "diff", str(one.source.tree), str(workspace.source))
    assert done.returncode == ExitCode.KEPT, done.stdout + done.stderr
    assert "KVM_IOEVENTFD_FLAG_PV_MMIO added: 0x20" in done.stdout
    assert "KVM_IOEVENTFD_VALID_FLAG_MASK changed: 0x1f -> 0x3f" in done.stdout
    assert "0 breaking" in done.stdout
