"""Why there is no KVM here, and what to do about it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from kvmabi.probing import host
from kvmabi.probing.cpuid_insn import cpu_offers
from kvmabi.probing.report import Json


class Situation(StrEnum):
    """The ways in which a machine can lack KVM."""

    NO_CPU_SUPPORT = "no-cpu-support"
    FIRMWARE = "disabled-in-firmware"
    MODULE = "module-not-loaded"
    NOT_BUILT = "kernel-without-kvm"
    PERMISSION = "no-permission"
    CONTAINER = "container-without-device"
    NAMESPACE = "no-device-node"
    NESTING = "hypervisor-without-nesting"
    NOT_KVM = "not-kvm"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Absence:
    """A situation, the evidence in one sentence, and what to do."""

    situation: Situation
    reason: str
    remedy: str

    def to_json(self) -> Json:
        """The report's `kvm` object."""
        return {
            "available": False,
            "situation": str(self.situation),
            "reason": self.reason,
            "remedy": self.remedy,
        }


_NESTING: Final = {
    "KVM": "on the machine outside, load kvm_intel (or kvm_amd) with nested=1, and give the "
    "guest its CPU: -cpu host; in a cloud, choose a machine type with nested virtualisation",
    "QEMU without KVM": "start QEMU with -cpu max,+svm, which emulates it",
    "VMware": 'tick "Expose hardware assisted virtualization" (vhv.enable = "TRUE")',
    "Hyper-V": "on the host: Set-VMProcessor -VMName NAME -ExposeVirtualizationExtensions $true",
    "Xen": "put nestedhvm=1 into the domain's configuration (and hap=1)",
    "VirtualBox": "on the host: VBoxManage modifyvm NAME --nested-hw-virt on",
}
_ASK: Final = "switch nested virtualisation on in the hypervisor outside, or use a machine with it"


def why_absent(
    root: Path = Path("/"),
    *,
    machine: str = "",
    release: str = "",
    offers: Callable[[], str] = cpu_offers,
) -> Absence | None:
    """Why /dev/kvm below `root` cannot be used; None where it opens.

    `offers` says which virtualisation the CPU itself has, whatever the firmware did.
    """
    device = root / "dev/kvm"
    try:
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        uname = os.uname()
        place = _Place(root, machine or uname.machine, release or uname.release, offers)
        return _cannot_open(device, error.errno or 0, place)
    try:
        if not stat.S_ISCHR(os.fstat(fd).st_mode):
            return Absence(
                Situation.NOT_KVM,
                f"{device} is no character device",
                f"remove it (sudo rm {device}) and load KVM's module, which makes the real one",
            )
    finally:
        os.close(fd)
    return None


@dataclass(frozen=True, slots=True)
class _Place:
    root: Path
    machine: str
    release: str
    offers: Callable[[], str]


def _cannot_open(device: Path, error: int, place: _Place) -> Absence:
    match error:
        case errno.EACCES:
            return _no_permission(device)
        case errno.EPERM:
            kind = host.container(place.root) or "a container or a service"
            return Absence(
                Situation.CONTAINER,
                f"{device} is there, but the device rules of {kind} forbid it (EPERM)",
                "allow the device: docker run --device /dev/kvm, or DeviceAllow=/dev/kvm rw",
            )
        case errno.ENOENT | errno.ENXIO | errno.ENODEV | errno.ENOTDIR:
            if (place.root / "sys/class/misc/kvm").exists() and error == errno.ENOENT:
                return _no_node(device, place.root)
            return _no_kvm(device, place)
    return Absence(
        Situation.FAILED,
        f"{device} cannot be opened: {os.strerror(error)}",
        "see the kernel log (sudo dmesg | grep -i kvm)",
    )


def _no_permission(device: Path) -> Absence:
    status = device.stat()
    mode = stat.filemode(status.st_mode)
    group = _group(device)
    reason = f"this user may not open {device} ({mode}, group {group})"
    if group == "root" or not status.st_mode & stat.S_IWGRP:
        remedy = (
            "let a group have it: sudo groupadd -f -r kvm; sudo chgrp kvm /dev/kvm; "
            "sudo chmod 660 /dev/kvm; sudo usermod -aG kvm $USER; then log in again"
        )
    else:
        remedy = f"join the group {group}: sudo usermod -aG {group} $USER; then log in again"
    return Absence(Situation.PERMISSION, reason, remedy)


def _group(device: Path) -> str:
    try:
        return device.group()
    except (OSError, KeyError):
        return str(device.stat().st_gid)


def _no_node(device: Path, root: Path) -> Absence:
    number = host.read_text(root / "sys/class/misc/kvm/dev", "10:232").replace(":", " ")
    kind = host.container(root)
    if kind:
        return Absence(
            Situation.CONTAINER,
            f"the kernel has KVM, but this {kind} container was given no {device}",
            "give it the device: docker run --device /dev/kvm (podman and nerdctl: the same)",
        )
    return Absence(
        Situation.NAMESPACE,
        f"the kernel has KVM, but there is no {device} in this /dev (a chroot, a mount namespace "
        "or a container)",
        "bind the device in from outside (mount --bind), or make the node: "
        f"sudo mknod -m 660 {device} c {number}",
    )


def _no_kvm(device: Path, place: _Place) -> Absence:
    if place.machine not in ("x86_64", "amd64", "i686"):
        return _no_kvm_elsewhere(device, place)
    flags = host.cpu_flags(place.root)
    kind = next((name for name in ("vmx", "svm") if name in flags), "")
    if kind:
        module = "kvm_intel" if kind == "vmx" else "kvm_amd"
        return _no_module(device, module, kind, place)
    if "hypervisor" in flags:
        outer = host.hypervisor(place.root)
        return Absence(
            Situation.NESTING,
            f"this machine is a guest ({outer}) and its hypervisor shows it neither vmx nor svm",
            _NESTING.get(outer, _ASK),
        )
    offered = place.offers()
    if offered in ("vmx", "svm"):
        name = "Intel VT-x (VMX)" if offered == "vmx" else "AMD-V (SVM)"
        return Absence(
            Situation.FIRMWARE,
            f"the CPU has {offered}, but the firmware has switched it off",
            f"switch {name} on in the firmware's settings, and power the machine off and on again",
        )
    unsure = " (the CPU could not be asked itself)" if offered == "unknown" else ""
    return Absence(
        Situation.NO_CPU_SUPPORT,
        f"this CPU has neither vmx nor svm{unsure}",
        "use a machine whose CPU has them; or an emulated one: qemu-system-x86_64 -cpu max,+svm"
        + ("; look into the firmware's settings first" if unsure else ""),
    )


def _no_module(device: Path, module: str, kind: str, place: _Place) -> Absence:
    state = host.module_state(place.root, place.release, module)
    if state == "missing":
        return Absence(
            Situation.NOT_BUILT,
            f"the CPU has {kind}, but this kernel ({place.release}) comes without {module}",
            f"install the package with its modules, or a kernel with CONFIG_{module.upper()}",
        )
    if state == "available":
        return Absence(
            Situation.MODULE,
            f"the CPU has {kind}, and the module {module} is not loaded",
            f"sudo modprobe {module}",
        )
    return Absence(
        Situation.FAILED,
        f"{module} is {state} and the CPU has {kind}, but it made no {device}",
        "see why it failed: sudo dmesg | grep -i kvm",
    )


def _no_kvm_elsewhere(device: Path, place: _Place) -> Absence:
    if place.machine == "aarch64":
        return Absence(
            Situation.NO_CPU_SUPPORT,
            f"there is no {device}: this arm64 kernel was not started at EL2, or has no KVM",
            "start it at EL2 (QEMU: -machine virt,virtualization=on; in a cloud: bare metal)",
        )
    if place.machine in ("ppc64", "ppc64le"):
        return _no_module(device, "kvm_hv", "hypervisor mode", place)
    state = host.module_state(place.root, place.release, "kvm")
    if state == "available":
        return Absence(
            Situation.MODULE, f"there is no {device}; kvm is not loaded", "sudo modprobe kvm"
        )
    return Absence(
        Situation.NOT_BUILT if state == "missing" else Situation.NO_CPU_SUPPORT,
        f"there is no {device} on this {place.machine} (module kvm: {state})",
        "use a kernel with CONFIG_KVM on a CPU with the hypervisor extension",
    )
