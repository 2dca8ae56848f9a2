"""kvmabi as a single file, for a Python that has nothing installed."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("zipapp") / "kvmabi.pyz")


def build(target: Path) -> Path:
    command = [sys.executable, TOP / "tools/build_zipapp.py", "-o", target]
    subprocess.run(command, check=True, capture_output=True, cwd="/")
    return target


def run(archive: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", "-I", archive, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


def test_it_runs_without_any_site_packages(archive: Path) -> None:
    done = run(archive, "probe", "--only", "substrate", "--json", "-")
    assert json.loads(done.stdout)["sections"]["substrate"]["status"] == "ok"
    assert "Traceback" not in done.stderr
    shown = run(archive, "probe", "--only", "substrate")
    assert "Substrate" in shown.stdout


def test_snapshots_and_overlays_are_in_it(archive: Path) -> None:
    # api.rst: KVM_PRE_FAULT_MEMORY came with 6.11, and 6.12 is the first snapshot after it.
    assert "since 6.12" in run(archive, "abi", "show", "KVM_PRE_FAULT_MEMORY").stdout
    done = run(archive, "abi", "diff", "6.1", "7.2", "--arch", "x86")
    assert (done.returncode, done.stderr) == (1, "")
    assert "Linux 6.1.176 -> Linux 7.2" in done.stdout
    done = run(archive, "abi", "diff", "6.12", "6.12+pv-mmio")
    assert "KVM_IOEVENTFD_VALID_FLAG_MASK changed: 0x1f -> 0x3f" in done.stdout


def test_an_interpreter_without_site_packages_has_nothing_of_it() -> None:
    command = [sys.executable, "-S", "-I", "-c", "import rich"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert "ModuleNotFoundError" in done.stderr


def test_the_same_input_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "again.pyz").read_bytes() == archive.read_bytes()


def test_licenses_and_guest_are_in_it_and_no_path_of_this_machine(archive: Path) -> None:
    with zipfile.ZipFile(archive) as inside:
        names = inside.namelist()
        for wanted in (
            "kvmabi-LICENSE",
            "kvmabi/guest/exerciser.elf",
            "kvmabi/probing/schema.json",
        ):
            assert wanted in names
        for name in ("ioctl_opt", "pyelftools", "rich"):
            found = [one for one in names if one.startswith(name) and "dist-info/" in one]
            assert any("LICENSE" in one or "COPYING" in one for one in found), name
        here = str(TOP).encode()
        assert [one for one in names if here in inside.read(one)] == []
