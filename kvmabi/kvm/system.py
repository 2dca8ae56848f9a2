"""``/dev/kvm``: the door to KVM, and the ioctls of its own fd."""

from __future__ import annotations

import errno
import os
import stat
from functools import cached_property
from pathlib import Path

from kvmabi import uapi
from kvmabi.errors import IoctlError, KvmUnavailable
from kvmabi.kvm.cpuid import ENTRY_BYTES, HEADER_BYTES, Cpuid
from kvmabi.kvm.fd import KvmFd
from kvmabi.kvm.vm import VM

DEVICE = "/dev/kvm"
API_VERSION = 12
"""The only KVM_GET_API_VERSION since Linux 2.6.22. Source: Documentation/virt/kvm/api.rst, 4.1."""
_GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP
MAX_CPUID_ENTRIES = 256
"""KVM_MAX_CPUID_ENTRIES. Source: arch/x86/include/asm/kvm_host.h."""


class System(KvmFd):
    """An open ``/dev/kvm``."""

    kind = "system"

    @classmethod
    def open(cls, path: str = DEVICE) -> System:
        """KVM, ready to make VMs.

        Raises KvmUnavailable, with the remedy, where the device is missing, may not be opened, or
        speaks another API than version 12.
        """
        try:
            system = cls(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise KvmUnavailable(_cannot_open(path, error)) from None
        try:
            system._check_api_version(path)
        except BaseException:
            system.close()
            raise
        return system

    def _check_api_version(self, path: str) -> None:
        try:
            version = self.call("KVM_GET_API_VERSION")
        except IoctlError as error:
            raise KvmUnavailable(f"{path} is no KVM device: {error}") from None
        if version != API_VERSION:
            raise KvmUnavailable(
                f"{path} speaks KVM API version {version}, and kvmabi version {API_VERSION} only: "
                "boot a kernel with the mainline KVM"
            )

    def check_extension(self, capability: int) -> int:
        """What KVM says to KVM_CHECK_EXTENSION: 0 for no, and for yes 1 or a number."""
        return self.call("KVM_CHECK_EXTENSION", capability)

    @cached_property
    def mmap_size_bytes(self) -> int:
        """The size of a vCPU's shared `kvm_run` area."""
        return self.call("KVM_GET_VCPU_MMAP_SIZE")

    @cached_property
    def supported_cpuid(self) -> Cpuid:
        """What `get_supported_cpuid` gave the first time."""
        return self.get_supported_cpuid()

    def get_supported_cpuid(self) -> Cpuid:
        """The CPUID that this KVM can give to a guest."""
        table = bytearray(HEADER_BYTES + MAX_CPUID_ENTRIES * ENTRY_BYTES)
        table[:4] = MAX_CPUID_ENTRIES.to_bytes(4, "little")
        self.call("KVM_GET_SUPPORTED_CPUID", table)
        count = int.from_bytes(table[:4], "little")
        return Cpuid(bytes(table[: HEADER_BYTES + count * ENTRY_BYTES]))

    def create_vm(self, machine_type: int = 0) -> VM:
        """A new VM of this type (0 is the only one of x86 without confidential VMs)."""
        return VM(self.call("KVM_CREATE_VM", machine_type), self)

    def max_vcpus(self) -> int:
        """How many vCPUs KVM recommends at most for one VM."""
        return self.check_extension(uapi.KVM_CAP_NR_VCPUS) or 4


def _cannot_open(path: str, error: OSError) -> str:
    remedies = {
        errno.ENOENT: (
            "load KVM's module (sudo modprobe kvm_intel, or kvm_amd), "
            "and switch virtualisation on in the firmware, or nesting on in the outer hypervisor"
        ),
        errno.EACCES: _permission_remedy(path),
        errno.EPERM: "a container needs the device given to it (--device /dev/kvm)",
        errno.ENODEV: "this CPU, or the hypervisor below, offers no virtualisation to KVM",
    }
    reason = os.strerror(error.errno or 0)
    remedy = remedies.get(error.errno or 0, "")
    return f"cannot open {path}: {reason}" + (f"; {remedy}" if remedy else "")


def _permission_remedy(path: str) -> str:
    """What gives this user the device: its group where that may write, else a group that may."""
    try:
        status = Path(path).stat()
        group = Path(path).group()
    except (OSError, KeyError):  # not even looked at, or a group without a name
        return "run kvmabi as root"
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}, {_owner(path, status.st_uid)}:{group}"
    if group != "root" and status.st_mode & _GROUP_MAY == _GROUP_MAY:
        return f"{mode}: sudo usermod -aG {group} $USER, then log in again"
    return (
        f"{mode}: no group may open it, so let one: sudo groupadd -f -r kvm; "
        f"sudo chgrp kvm {path}; sudo chmod 660 {path}; "
        "sudo usermod -aG kvm $USER; then log in again"
    )


def _owner(path: str, uid: int) -> str:
    try:
        return Path(path).owner()
    except KeyError:
        return str(uid)
