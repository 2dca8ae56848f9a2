"""Descriptors, messages and tables, without a device."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import pytest

import kvmabi.kvm
from kvmabi import uapi
from kvmabi.errors import ExitCode, IoctlError, KvmUnavailable
from kvmabi.kvm import Cpuid, System, describe_host
from kvmabi.kvm.fd import KvmFd


class SomeFd(KvmFd):
    kind = "VM"


def null_fd() -> SomeFd:
    return SomeFd(os.open("/dev/null", os.O_RDWR))


def test_closing_twice_is_fine_and_once_is_enough() -> None:
    with null_fd() as some:
        number = some.fd
    some.close()
    assert some.fd == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_failing_ioctl_names_itself_and_the_fd() -> None:
    with null_fd() as some, pytest.raises(IoctlError) as caught:
        some.call("KVM_CREATE_VCPU", 0)
    assert caught.value.errno == errno.ENOTTY
    assert caught.value.ioctl_name == "KVM_CREATE_VCPU"
    assert str(caught.value).startswith("KVM_CREATE_VCPU on the VM fd: ENOTTY")
    assert isinstance(caught.value, OSError)


def test_the_ioctls_that_are_called_by_name_exist() -> None:
    names = set()
    for path in Path(kvmabi.kvm.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "call":
                assert isinstance(node.args[0], ast.Constant)
                names.add(node.args[0].value)
    assert len(names) > 8
    assert all(isinstance(getattr(uapi, name), int) for name in names)


def test_no_device_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(KvmUnavailable, match="modprobe kvm_intel") as caught:
        System.open(str(tmp_path / "kvm"))
    assert caught.value.exit_code == ExitCode.NOTHING_CHECKED
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "group", "remedy"),
    [
        (0o660, "kvm", "mode 0660, root:kvm: sudo usermod -aG kvm $USER, then log in again"),
        (0o660, "virt", "sudo usermod -aG virt $USER"),
        (0o600, "root", "mode 0600, root:root: no group may open it"),
        (0o660, "root", "mode 0660, root:root: no group may open it"),
        (0o600, "kvm", "sudo chmod 660"),
        (0o640, "kvm", "sudo chmod 660"),
    ],
)
def test_no_permission_is_said_with_the_remedy_that_fits(
    monkeypatch, tmp_path: Path, mode: int, group: str, remedy: str
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    device = tmp_path / "kvm"
    device.touch()
    device.chmod(mode)
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "group", lambda _path: group)
    monkeypatch.setattr(Path, "owner", lambda _path: "root")
    with pytest.raises(KvmUnavailable) as caught:
        System.open(str(device))
    assert remedy in str(caught.value)
    assert ("usermod -aG root" in str(caught.value)) is False
    assert "\n" not in str(caught.value)


def test_another_device_is_no_kvm() -> None:
    with pytest.raises(KvmUnavailable, match="/dev/null is no KVM device"):
        System.open("/dev/null")


def test_another_api_version_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(System, "call", lambda *_: 11)
    with pytest.raises(KvmUnavailable, match="version 11"):
        System.open("/dev/null")


def entry(function: int, index: int = 0, edx: int = 0) -> uapi.kvm_cpuid_entry2:
    made = uapi.kvm_cpuid_entry2()
    made.function, made.index, made.edx = function, index, edx
    return made


def test_a_cpuid_table_holds_its_entries() -> None:
    table = Cpuid.of([entry(1, edx=5), entry(4, 0), entry(4, 1, edx=7)])
    assert len(table) == 3
    assert table.raw[:4] == bytes([3, 0, 0, 0])
    assert [one.function for one in table] == [1, 4, 4]
    found = table.find(4, 1)
    assert found is not None
    assert found.edx == 7
    assert table.find(4, 2) is None


@pytest.mark.parametrize(("edx", "has"), [(1 << 26, True), (1 << 27, False), (0, False)])
def test_1_gib_pages_are_read_from_cpuid(edx: int, has: bool) -> None:
    assert Cpuid.of([entry(1), entry(0x8000_0001, edx=edx)]).has_1_gib_pages is has


def test_1_gib_pages_are_none_without_the_function() -> None:
    assert not Cpuid.of([entry(1)]).has_1_gib_pages


def make_host(root: Path, cpuinfo: str, *modules: str) -> Path:
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(cpuinfo)
    for module in modules:
        (root / "sys/module" / module).mkdir(parents=True)
    return root


def test_the_host_is_described(tmp_path: Path) -> None:
    cpuinfo = "model name\t: Some CPU\nflags\t\t: fpu hypervisor\n\nmodel name\t: Other\n"
    host = describe_host(make_host(tmp_path, cpuinfo, "kvm", "kvm_amd"))
    assert (host.cpu_model, host.hypervisor, host.back_end) == ("Some CPU", True, "kvm_amd")
    assert host.kernel_release == os.uname().release
    assert host.accelerator == "kvm"
    assert host.cpus >= 1


def test_a_host_without_modules_and_flags_is_described(tmp_path: Path) -> None:
    host = describe_host(make_host(tmp_path, "processor\t: 0\nuarch\t\t: sifive\n"))
    assert (host.cpu_model, host.hypervisor, host.back_end) == ("sifive", False, "kvm")


def test_a_host_without_proc_is_described(tmp_path: Path) -> None:
    assert describe_host(tmp_path).cpu_model == os.uname().machine
