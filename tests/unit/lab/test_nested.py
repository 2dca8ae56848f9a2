from __future__ import annotations

from pathlib import Path

import pytest

from kvmabi import cli
from kvmabi.errors import ExitCode, LabUnavailable
from kvmabi.lab.backends import BACKENDS, backend
from kvmabi.lab.nested import resolved

HOST = backend("host")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a machine with VMX and a KVM that nests."""
    for name, text in {
        "dev/kvm": "",
        "proc/cpuinfo": "processor : 0\nflags : fpu vmx ept\n\nprocessor : 1\nflags : fpu\n",
        "sys/module/kvm_intel/parameters/nested": "Y\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_cpu_decides_which_module_must_load(root: Path) -> None:
    assert resolved(HOST, root).module == "kvm_intel"
    (root / "proc/cpuinfo").write_text("flags\t\t: fpu svm npt\n")
    (root / "sys/module/kvm_amd/parameters").mkdir(parents=True)
    (root / "sys/module/kvm_amd/parameters/nested").write_text("1\n")
    assert resolved(HOST, root).module == "kvm_amd"


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "host"])
def test_an_emulated_one_asks_nothing_of_this_machine(name: str, tmp_path: Path) -> None:
    assert resolved(backend(name), tmp_path) is backend(name)


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("dev/kvm", None, "/dev/kvm is not there"),
        ("proc/cpuinfo", "flags : fpu\n", "its CPU shows neither vmx nor svm"),
        ("proc/cpuinfo", None, "its CPU shows neither vmx nor svm"),
        ("sys/module/kvm_intel/parameters/nested", None, "its KVM is not kvm_intel"),
        ("sys/module/kvm_intel/parameters/nested", "N\n", "modprobe kvm_intel nested=1"),
        ("sys/module/kvm_intel/parameters/nested", "0\n", "modprobe kvm_intel nested=1"),
    ],
)
def test_a_machine_that_cannot_nest_is_told_why(
    root: Path, file: str, text: str | None, why: str
) -> None:
    (root / file).unlink()
    if text is not None:
        (root / file).write_text(text)
    with pytest.raises(LabUnavailable, match=f"back end host needs .*: .*{why}.*; svm and vmx are"):
        resolved(HOST, root)


def test_it_is_exit_3_and_never_another_back_end(monkeypatch, capsys, tmp_path: Path) -> None:
    from kvmabi.lab.commands import run

    monkeypatch.setattr(run, "resolved", lambda chosen: resolved(chosen, tmp_path))
    words = ["lab", "run", "--backend", "host", "--", "matrix"]
    assert cli.main(words) == ExitCode.NOTHING_CHECKED
    assert len(capsys.readouterr().err.splitlines()) == 1
