"""Why there is no KVM: each situation, made of files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmabi.probing import absence
from kvmabi.probing.absence import Absence, Situation, why_absent
from kvmabi.probing.report import load_schema
from kvmabi.probing.run import probe
from kvmabi.probing.schema import violations
from kvmabi.probing.setting import Setting

from .conftest import Root

RELEASE = "6.1.0-test"


def diagnose(root: Root, offers: str = "", machine: str = "x86_64") -> Absence:
    found = why_absent(root.path, machine=machine, release=RELEASE, offers=lambda: offers)
    assert found is not None
    return found


def test_a_cpu_without_virtualisation(root: Root) -> None:
    root.cpu("fpu tsc")
    found = diagnose(root, offers="")
    assert found.situation is Situation.NO_CPU_SUPPORT
    assert "neither vmx nor svm" in found.reason


@pytest.mark.parametrize(("offers", "name"), [("vmx", "VT-x"), ("svm", "AMD-V")])
def test_switched_off_in_the_firmware(root: Root, offers: str, name: str) -> None:
    root.cpu("fpu tsc")
    found = diagnose(root, offers=offers)
    assert found.situation is Situation.FIRMWARE
    assert name in found.remedy


def test_a_cpu_that_cannot_be_asked_is_not_guessed_about(root: Root) -> None:
    root.cpu("fpu tsc")
    found = diagnose(root, offers="unknown")
    assert found.situation is Situation.NO_CPU_SUPPORT
    assert "could not be asked" in found.reason
    assert "firmware" in found.remedy


@pytest.mark.parametrize(("flags", "module"), [("fpu vmx", "kvm_intel"), ("fpu svm", "kvm_amd")])
def test_a_module_that_is_not_loaded(root: Root, flags: str, module: str) -> None:
    root.cpu(flags)
    file = module.replace("_", "-")
    root.write(f"lib/modules/{RELEASE}/modules.dep", f"kernel/arch/x86/kvm/{file}.ko.xz: kvm.ko\n")
    found = diagnose(root)
    assert found.situation is Situation.MODULE
    assert found.remedy == f"sudo modprobe {module}"


def test_a_kernel_without_kvm(root: Root) -> None:
    root.cpu("fpu vmx")
    root.write(f"lib/modules/{RELEASE}/modules.dep", "kernel/net/kvm-intelligence.ko: x\n")
    found = diagnose(root)
    assert found.situation is Situation.NOT_BUILT
    assert "CONFIG_KVM_INTEL" in found.remedy


def test_a_module_that_is_there_and_made_no_device(root: Root) -> None:
    root.cpu("fpu vmx")
    root.write(f"lib/modules/{RELEASE}/modules.builtin", "kernel/arch/x86/kvm/kvm-intel.ko\n")
    assert diagnose(root).situation is Situation.FAILED


@pytest.mark.parametrize(
    ("file", "text", "remedy"),
    [
        ("sys/hypervisor/type", "xen\n", "nestedhvm=1"),
        ("sys/class/dmi/id/sys_vendor", "Some Cloud\n", "nested virtualisation"),
    ],
)
def test_a_hypervisor_without_nesting(root: Root, file: str, text: str, remedy: str) -> None:
    root.cpu("fpu tsc hypervisor")
    root.write(file, text)
    found = diagnose(root, offers="vmx")  # a guest is asked nothing about firmware
    assert found.situation is Situation.NESTING
    assert remedy in found.remedy


def test_a_container_without_the_device(root: Root) -> None:
    root.cpu("fpu vmx")
    root.write("sys/class/misc/kvm/dev", "10:232\n")
    root.write(".dockerenv")
    found = diagnose(root)
    assert found.situation is Situation.CONTAINER
    assert "--device /dev/kvm" in found.remedy


def test_a_dev_without_the_device_outside_any_container(root: Root) -> None:
    root.write("sys/class/misc/kvm/dev", "10:232\n")
    found = diagnose(root)
    assert found.situation is Situation.NAMESPACE
    assert "10 232" in found.remedy


def test_an_arm64_kernel_that_is_not_the_hypervisor(root: Root) -> None:
    found = diagnose(root, machine="aarch64")
    assert found.situation is Situation.NO_CPU_SUPPORT
    assert "EL2" in found.reason


def test_a_riscv_kernel_with_the_module_on_disk(root: Root) -> None:
    root.write(f"lib/modules/{RELEASE}/modules.dep", "kernel/arch/riscv/kvm/kvm.ko:\n")
    assert diagnose(root, machine="riscv64").remedy == "sudo modprobe kvm"


def test_a_plain_file_is_no_kvm(root: Root) -> None:
    root.write("dev/kvm")
    assert diagnose(root).situation is Situation.NOT_KVM


def refuse(error: int) -> Callable[..., int]:
    def stand_in(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    return stand_in


@pytest.mark.parametrize(
    ("error", "situation"),
    [
        (errno.EPERM, Situation.CONTAINER),
        (errno.EACCES, Situation.PERMISSION),
        (errno.EBUSY, Situation.FAILED),
    ],
)
def test_what_open_says_decides(
    root: Root, monkeypatch: pytest.MonkeyPatch, error: int, situation: Situation
) -> None:
    root.write("dev/kvm")
    monkeypatch.setattr(absence.os, "open", refuse(error))
    assert diagnose(root).situation is situation


@pytest.mark.parametrize(("mode", "remedy"), [(0o660, "usermod -aG"), (0o600, "groupadd")])
def test_the_permission_that_is_missing(
    root: Root, monkeypatch: pytest.MonkeyPatch, mode: int, remedy: str
) -> None:
    root.write("dev/kvm")
    (root.path / "dev/kvm").chmod(mode)
    monkeypatch.setattr(absence, "_group", lambda _: "kvm")
    monkeypatch.setattr(absence.os, "open", refuse(errno.EACCES))
    assert remedy in diagnose(root).remedy


def test_a_character_device_that_opens_is_no_absence(root: Root) -> None:
    (root.path / "dev").mkdir(parents=True)
    (root.path / "dev/kvm").symlink_to(os.devnull)
    assert why_absent(root.path) is None


def test_without_kvm_the_rest_of_the_report_still_comes(root: Root) -> None:
    root.cpu("fpu tsc hypervisor")
    report = probe(setting=Setting(root=root.path))
    assert report.kvm["situation"] == "hypervisor-without-nesting"
    assert report.sections["substrate"].status == "ok"
    assert {report.sections[name].status for name in ("caps", "ioeventfd", "cpuid")} == {"skipped"}
    assert report.sections["drift"].reason.startswith("this kernel has no BTF")
    assert violations(report.to_json(), load_schema()) == []


def test_the_schema_knows_every_situation() -> None:
    known = load_schema()["properties"]["kvm"]["properties"]["situation"]["enum"]
    assert set(known) == {str(one) for one in Situation}


def test_the_group_of_a_device_is_named(tmp_path: Path) -> None:
    (tmp_path / "kvm").touch()
    assert absence._group(tmp_path / "kvm") == (tmp_path / "kvm").group()
