"""QEMU as the other side: what it is given, and what is made of how it ends."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvmabi.benching import qemu
from kvmabi.errors import GuestError, ToolMissing
from kvmabi.guest import bench_image

LINE = b"cpuid 300 made=110 min=90 p25=200 p75=400 p99=500 max=900 mean=333\r\nend\r\n"


@pytest.fixture
def ends(monkeypatch) -> Callable[..., list[list[str]]]:
    """Has QEMU end in some way; gives the commands that it was run by."""

    def set_end(status: int, out: bytes = LINE, error: bytes = b"") -> list[list[str]]:
        commands: list[list[str]] = []

        def run(command: list[str], **_: object) -> SimpleNamespace:
            image = Path(command[command.index("-kernel") + 1])
            assert image.read_bytes() == bench_image()
            commands.append(command)
            return SimpleNamespace(returncode=status, stdout=out, stderr=error)

        monkeypatch.setattr(qemu.subprocess, "run", run)
        return commands

    return set_end


def test_the_same_guest_is_run_with_the_same_words(ends) -> None:
    commands = ends(qemu.GUEST_DONE)
    assert [row.name for row in qemu.run_qemu("samples=100 cpuid", 9.0)] == ["cpuid"]
    assert commands[0][-2:] == ["-append", "samples=100 cpuid"]
    assert "pci-testdev" in commands[0]
    assert commands[0][commands[0].index("-accel") + 1] == "kvm"


def test_another_status_is_an_error_with_its_last_words(ends) -> None:
    ends(2, error=b"warning: x\nCould not access KVM kernel module\n")
    with pytest.raises(GuestError, match="QEMU ended with 2: Could not access KVM"):
        qemu.run_qemu("cpuid", 9.0)


def test_a_guest_that_was_cut_off_is_an_error(ends) -> None:
    ends(qemu.GUEST_DONE, LINE.removesuffix(b"end\r\n"))
    with pytest.raises(GuestError, match="did not come to its end"):
        qemu.run_qemu("cpuid", 9.0)


def test_one_that_never_ends_is_killed(monkeypatch) -> None:
    def run(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(qemu.subprocess, "run", run)
    with pytest.raises(GuestError, match="QEMU had not ended the bench in 9 s"):
        qemu.run_qemu("cpuid", 9.0)


def test_without_qemu_the_message_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(qemu.shutil, "which", {}.get)
    with pytest.raises(ToolMissing, match="qemu-system-x86"):
        qemu.version()
