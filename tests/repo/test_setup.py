"""tools/setup.sh tells who lacks something what to type, and does it itself where it may."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]

FAKE_PYTHON = """#!/bin/sh
here=$(dirname "$0")
case "$*" in
*'(3, 11)'*) [ "{version}" != 3.9 ] ;;
*ensurepip*) [ -e "$here/has-venv" ] ;;
*print*) echo {version} ;;
*) echo "python $*" >>"$here/log"; exit 1 ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path):
    """A machine with only what is put into it: runs tools/setup.sh there and returns its end."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "dirname", "cat", "cksum", "tr", "rm"):
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)

    def add(name: str, script: str) -> None:
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)

    def run(*, python: str | None, root: bool, venv: bool = False, apt: bool = True):
        add("id", f"#!/bin/sh\necho {0 if root else 1000}\n")
        if python:
            add("python3", FAKE_PYTHON.format(version=python))
        if venv:
            (folder / "has-venv").touch()
        if apt:
            add("apt-get", f'#!/bin/sh\necho "apt-get $*" >>{folder}/log\n>{folder}/has-venv\n')
        done = subprocess.run(
            [folder / "sh", TOP / "tools" / "setup.sh", "run"],
            env={"PATH": str(folder), "PYTHON": "python3", "VENV": str(tmp_path / "venv")},
            capture_output=True,
            text=True,
            check=False,
        )
        log = folder / "log"
        return done.returncode, done.stderr, log.read_text() if log.exists() else ""

    return run


def test_without_venv_a_user_gets_the_exact_command(machine) -> None:
    code, text, log = machine(python="3.11", root=False)
    assert (code, log) == (1, "")
    assert "python3 has no venv and ensurepip modules" in text
    assert "sudo apt-get install -y python3.11-venv" in text


def test_without_venv_root_gets_it_installed(machine) -> None:
    _code, text, log = machine(python="3.12", root=True)
    assert "apt-get update -q\napt-get install -y python3.12-venv\npython -m venv" in log
    assert "running as root: apt-get install -y python3.12-venv" in text


def test_too_old_a_python_is_named(machine) -> None:
    code, text, log = machine(python="3.9", root=False, venv=True)
    assert (code, log) == (1, "")
    assert "needs Python 3.11 or newer, and found only: python3 (3.9)" in text
    assert "sudo apt-get install -y python3 python3-venv" in text


def test_too_old_a_python_stays_an_error_where_apt_has_no_newer(machine) -> None:
    code, text, _log = machine(python="3.9", root=True)
    assert code == 1
    assert "still no usable Python 3.11" in text


def test_without_python_the_command_is_given(machine) -> None:
    code, text, log = machine(python=None, root=False)
    assert (code, log) == (1, "")
    assert "no Python was found" in text
    assert "sudo apt-get install -y python3 python3-venv" in text


def test_root_without_apt_gets_the_reason(machine) -> None:
    code, text, _log = machine(python="3.11", root=True, apt=False)
    assert code == 1
    assert "On Debian this gives it:  apt-get install -y python3.11-venv" in text


def test_with_all_there_nothing_is_installed(machine) -> None:
    _code, text, log = machine(python="3.11", root=True, venv=True)
    assert "apt-get" not in log + text
    assert log.startswith("python -m venv")


def test_an_unknown_kind_is_an_error() -> None:
    done = subprocess.run(
        [TOP / "tools" / "setup.sh", "nothing"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the kinds are run and test" in done.stderr
