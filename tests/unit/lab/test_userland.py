"""The Python of the packages, where it cannot be run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kvmabi.errors import LabUnavailable
from kvmabi.lab.rootfs.userland import Userland


@pytest.fixture
def userland(monkeypatch: pytest.MonkeyPatch) -> Userland:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(subprocess, "run", refuse)
    made = Userland.__new__(Userland)
    made.python = "python3.11"
    return made


def test_a_folder_where_nothing_can_run_is_told(userland: Userland, tmp_path: Path) -> None:
    loader = tmp_path / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    loader.parent.mkdir(parents=True)
    loader.touch()
    with pytest.raises(LabUnavailable, match=r"Permission denied.*KVMABI_CACHE"):
        userland._compile(tmp_path, ["a.py"])


def test_packages_for_another_cpu_are_told(userland: Userland, tmp_path: Path) -> None:
    with pytest.raises(LabUnavailable, match="is for another CPU"):
        userland._compile(tmp_path, ["a.py"])
