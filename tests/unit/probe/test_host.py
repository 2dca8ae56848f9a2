"""What /proc and /sys say of a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmabi.probing import cpuid_insn, host
from kvmabi.probing.gather.substrate import gather
from kvmabi.probing.setting import Setting

from .conftest import Root


@pytest.mark.parametrize(
    ("file", "text", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("proc/1/environ", "PATH=/bin\0container=lxc\0", "lxc"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", "kubepods"),
        ("proc/1/cgroup", "0::/init.scope\n", ""),
    ],
)
def test_containers(root: Root, file: str, text: str, kind: str) -> None:
    root.write(file, text)
    assert host.container(root.path) == kind


def test_hypervisors_by_signature_flag_and_vendor(root: Root) -> None:
    assert host.hypervisor(root.path, "VMwareVMware") == "VMware"
    assert host.hypervisor(root.path, "Something else") == "Something else"
    root.cpu("fpu")
    root.write("sys/class/dmi/id/sys_vendor", "QEMU\n")
    assert host.hypervisor(root.path) == ""
    root.cpu("fpu hypervisor")
    assert host.hypervisor(root.path) == "QEMU"


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (["kvm", "kvm_intel"], ("kvm_intel", "vmx")),
        (["kvm", "kvm_amd"], ("kvm_amd", "svm")),
        (["kvm", "kvm_pvm"], ("kvm_pvm", "pvm")),
        (["kvm"], ("kvm", "none")),
        ([], ("", "none")),
    ],
)
def test_back_ends(root: Root, modules: list[str], expected: tuple[str, str]) -> None:
    for name in modules:
        root.write(f"sys/module/{name}/uevent")
    assert host.back_end(root.path, "x86_64") == expected


def test_the_substrate_of_another_machine(root: Root) -> None:
    root.cpu("fpu vmx ept", vendor="GenuineIntel")
    root.write("sys/module/kvm_intel/initstate", "live\n")
    root.write("sys/module/kvm_intel/parameters/nested", "Y\n")
    root.write("sys/module/kvm_intel/parameters/ept", "N\n")
    root.write("proc/cmdline", "quiet kvm_intel.nested=1\n")
    found = gather(Setting(root=root.path, machine="x86_64"))
    module = found["modules"]["kvm_intel"]
    assert module["loadable"]
    assert module["parameters"] == {"ept": "N", "nested": "Y"}
    assert found["nested"] == {"parameters": {"kvm_intel": True}, "enabled": True}
    assert set(found["cpu"]["flags"]) == {"vmx", "ept"}
    assert found["kernel"]["cmdline_kvm"] == ["kvm_intel.nested=1"]
    assert not found["device"]["present"]


def test_the_cpuid_instruction_agrees_with_the_kernel() -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("CPUID is x86's")
    vendor = cpuid_insn.cpuid(0)
    if vendor is None:
        pytest.skip("memory may not be writable and executable here")
    name = b"".join(
        one.to_bytes(4, "little") for one in (vendor.ebx, vendor.edx, vendor.ecx)
    ).decode()
    info = host.cpuinfo(Path("/"))
    assert name == info["vendor_id"]
    basic = cpuid_insn.cpuid(1)
    assert basic is not None
    assert basic.eax & 0xF == int(info["stepping"])
    assert bool(basic.ecx >> 31) == ("hypervisor" in info["flags"].split())
    if "vmx" in info["flags"].split():
        assert cpuid_insn.cpu_offers() == "vmx"


def test_another_architecture_has_no_cpuid(monkeypatch: pytest.MonkeyPatch) -> None:
    uname = os.uname()
    other = os.uname_result((uname.sysname, uname.nodename, "1", "1", "aarch64"))
    monkeypatch.setattr(cpuid_insn.os, "uname", lambda: other)
    assert cpuid_insn.cpuid(0) is None
    assert cpuid_insn.cpu_offers() == "unknown"
