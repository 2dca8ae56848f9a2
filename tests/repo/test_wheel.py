"""The wheel, installed away from the checkout: all that a verb reads comes with it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
BUILD = "from flit_core.buildapi import build_wheel; print(build_wheel({!r}))"
RECORDED = ("6.1.txt", "6.12.json", "7.2+pv-mmio.txt", "pv-mmio.h")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with kvmabi as its wheel holds it, and nothing else."""
    pytest.importorskip("flit_core", reason="flit_core, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-c", BUILD.format(str(folder))],
        cwd=TOP, check=True, capture_output=True, text=True,
    )  # fmt: skip
    wheel = folder / built.stdout.split()[-1]
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    options = ["--no-index", "--no-deps", "--quiet", "--target", target]
    subprocess.run([*pip, "install", *options, wheel], check=True, capture_output=True)
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "kvmabi", *arguments]
    return subprocess.run(
        command, cwd="/", env=environment, capture_output=True, text=True, check=False
    )


def test_it_has_the_facts_of_older_kernels(installed: Path) -> None:
    names = {path.name for path in (installed / "kvmabi" / "linux_headers").rglob("*")}
    assert names >= set(RECORDED)


def test_since_when_is_said(installed: Path) -> None:
    # api.rst: KVM_PRE_FAULT_MEMORY came with 6.11, and 6.12 is the first snapshot after it.
    assert "since 6.12" in run(installed, "abi", "show", "KVM_PRE_FAULT_MEMORY").stdout


def test_snapshots_and_overlays_can_be_compared(installed: Path) -> None:
    done = run(installed, "abi", "diff", "6.1", "7.2", "--arch", "x86")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1].startswith("Linux 6.1.176 -> Linux 7.2: ")
    done = run(installed, "abi", "diff", "6.12", "6.12+pv-mmio")
    assert done.returncode == 0
    assert "KVM_IOEVENTFD_VALID_FLAG_MASK changed: 0x1f -> 0x3f" in done.stdout
    assert "snapshot of Linux 6.12.117" in run(installed, "headers", "list").stdout


def test_an_installed_package_is_no_checkout_to_update(installed: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in installed.rglob("*.txt")}
    done = run(installed, "headers", "update", "ziglang")
    assert done.returncode == 2
    assert "is no checkout of kvmabi" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in installed.rglob("*.txt")} == files
