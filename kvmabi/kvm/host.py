"""What this process runs on: kernel, KVM back end and CPU, as every result names them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

BACK_ENDS = ("kvm_intel", "kvm_amd", "kvm_pvm", "kvm_hv", "kvm_pr")
"""The modules that make a KVM work; where none is there, KVM is built in or not of x86."""


@dataclass(frozen=True, slots=True)
class Host:
    """The kernel and machine under test."""

    kernel_release: str
    """``uname -r``."""
    kernel_version: str
    """``uname -v``."""
    machine: str
    """``uname -m``."""
    back_end: str
    """The KVM back end: "kvm_intel", "kvm_amd", "kvm_pvm", …; "kvm" where no module tells."""
    accelerator: str
    """What runs the guest: always "kvm"; kvmabi falls back to nothing else."""
    cpu_model: str
    hypervisor: bool
    """Whether this host is a guest itself, as far as its CPU says so."""
    cpus: int
    """How many CPUs this process may use."""


def describe_host(root: Path = Path("/")) -> Host:
    """The host as it is now; `root` is where /proc and /sys hang."""
    uname = os.uname()
    cpuinfo = _cpuinfo(root / "proc/cpuinfo")
    return Host(
        kernel_release=uname.release,
        kernel_version=uname.version,
        machine=uname.machine,
        back_end=_back_end(root / "sys/module"),
        accelerator="kvm",
        cpu_model=cpuinfo.get("model name", cpuinfo.get("uarch", uname.machine)),
        hypervisor="hypervisor" in cpuinfo.get("flags", "").split(),
        cpus=len(os.sched_getaffinity(0)),
    )


def _back_end(modules: Path) -> str:
    found = [name for name in BACK_ENDS if (modules / name).is_dir()]
    return "+".join(found) or "kvm"


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first CPU's lines of /proc/cpuinfo; empty where it cannot be read."""
    try:
        first = path.read_text(errors="replace").split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def ept_in_use(root: Path = Path("/")) -> bool:
    """Whether kvm_intel maps guests' memory by EPT; false where there is no kvm_intel.

    Source: the parameter "ept" of kvm_intel (Documentation/admin-guide/kernel-parameters.txt).
    """
    try:
        return (root / "sys/module/kvm_intel/parameters/ept").read_text().strip() == "Y"
    except OSError:
        return False
