"""What this machine is, read from /proc and /sys: CPU, modules, hypervisor, container."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BACK_ENDS: Final = {
    "kvm_intel": "vmx",
    "kvm_amd": "svm",
    "kvm_pvm": "pvm",
    "kvm_hv": "powerpc hv",
    "kvm_pr": "powerpc pr",
}
"""Back-end modules, and the kind of virtualisation that each drives."""

SIGNATURES: Final = {
    "KVMKVMKVM": "KVM",
    "Linux KVM Hv": "KVM",
    "TCGTCGTCGTCG": "QEMU without KVM",
    "VMwareVMware": "VMware",
    "Microsoft Hv": "Hyper-V",
    "XenVMMXenVMM": "Xen",
    "VBoxVBoxVBox": "VirtualBox",
    "bhyve bhyve": "bhyve",
    "ACRNACRNACRN": "ACRN",
    "prl hyperv": "Parallels",
    "lrpepyh vr": "Parallels",
}
"""What hypervisors answer to CPUID 0x40000000. Source: the Linux kernel's hypervisor detection."""


def read_text(path: Path, default: str = "") -> str:
    """The stripped text of a small file; `default` where it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return default


def cpuinfo(root: Path) -> dict[str, str]:
    """The first CPU's lines of /proc/cpuinfo."""
    first = read_text(root / "proc/cpuinfo").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_flags(root: Path) -> frozenset[str]:
    """The CPU's flags as the kernel shows them, with VMX's own where they have a line."""
    info = cpuinfo(root)
    text = " ".join(info.get(key, "") for key in ("flags", "Features", "vmx flags", "isa"))
    return frozenset(text.split())


def kvm_modules(root: Path) -> dict[str, Path]:
    """Folders under /sys/module of KVM and its back ends, by name."""
    found = sorted((root / "sys/module").glob("kvm*"))
    return {path.name: path for path in found if path.is_dir()}


def back_end(root: Path, machine: str) -> tuple[str, str]:
    """(module, kind of virtualisation): ("kvm_intel", "vmx"); the kind is "none" where none is."""
    modules = kvm_modules(root)
    found = [name for name in BACK_ENDS if name in modules]
    if found:
        return "+".join(found), "+".join(BACK_ENDS[name] for name in found)
    built_in = {"aarch64": "arm64", "s390x": "s390 sie", "riscv64": "riscv h"}.get(machine)
    if built_in and (root / "sys/class/misc/kvm").exists():
        return "kvm", built_in
    return ("kvm" if "kvm" in modules else ""), "none"


def hypervisor(root: Path, signature: str = "") -> str:
    """What this machine runs inside ("KVM", "VMware, Inc. VMware7,1", …); "" for bare metal."""
    if signature:
        return SIGNATURES.get(signature, signature)
    kind = read_text(root / "sys/hypervisor/type")
    if kind:
        return {"xen": "Xen", "kvm": "KVM"}.get(kind, kind)
    if "hypervisor" not in cpu_flags(root):
        compatible = read_text(root / "proc/device-tree/hypervisor/compatible")
        return compatible.split("\0", maxsplit=1)[0]
    folder = root / "sys/class/dmi/id"
    names = (read_text(folder / name) for name in ("sys_vendor", "product_name"))
    return " ".join(name for name in names if name) or "an unnamed hypervisor"


def container(root: Path) -> str:
    """The kind of container that this process is in ("docker"); "" where nothing tells of one."""
    for name, kind in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (root / name).exists():
            return kind
    kind = read_text(root / "run/systemd/container")
    if kind:
        return kind
    try:
        environment = (root / "proc/1/environ").read_bytes().split(b"\0")
    except OSError:
        environment = []
    for line in environment:
        if line.startswith(b"container="):
            return line.partition(b"=")[2].decode("utf-8", "replace") or "container"
    groups = read_text(root / "proc/1/cgroup")
    found = re.search(r"docker|kubepods|lxc|libpod|containerd", groups)
    return found[0] if found else ""


def module_state(root: Path, release: str, module: str) -> str:
    """Return "loaded", "built in", "available" (a file that can be loaded), or "missing"."""
    if module in kvm_modules(root):
        return "loaded"
    folder = root / "lib/modules" / release
    wanted = re.compile(rf"(^|/){module.replace('_', '[-_]')}\.ko", re.MULTILINE)
    if wanted.search(read_text(folder / "modules.builtin")):
        return "built in"
    if wanted.search(read_text(folder / "modules.dep")):
        return "available"
    return "missing"


def kernel_log(root: Path) -> Iterator[str]:
    """The kernel log's messages, as far as this user may read them."""
    try:
        fd = os.open(root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while True:
            try:
                record = os.read(fd, 8192)
            except BrokenPipeError:  # overwritten before it was read: the next one is there
                continue
            if not record:
                return
            yield record.split(b";", 1)[-1].split(b"\n", 1)[0].decode("utf-8", "replace")
    except OSError:  # EAGAIN: no more
        return
    finally:
        os.close(fd)
