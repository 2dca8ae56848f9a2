"""The substrate: kernel, device, modules and their parameters, CPU, and what lies below."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from kvmabi.errors import KvmAbiError
from kvmabi.probing import host
from kvmabi.probing.cpuid_insn import cpu_offers, hypervisor_signature
from kvmabi.probing.report import Json
from kvmabi.probing.setting import Setting

FLAGS: Final = {
    "vmx": "Intel virtualisation",
    "svm": "AMD virtualisation",
    "ept": "second-level page tables (Intel)",
    "npt": "second-level page tables (AMD)",
    "ept_ad": "accessed and dirty bits in EPT",
    "vpid": "tagged TLB (Intel)",
    "unrestricted_guest": "real mode without emulation",
    "tpr_shadow": "task priority without exits",
    "apicv": "APIC virtualisation",
    "posted_intr": "posted interrupts",
    "avic": "APIC virtualisation (AMD)",
    "x2avic": "APIC virtualisation, x2APIC (AMD)",
    "nrip_save": "next RIP saved on exit (AMD)",
    "vgif": "virtual global interrupt flag",
    "v_vmsave_vmload": "VMSAVE and VMLOAD without exits",
    "pml": "page modification log",
    "tsc_scaling": "TSC scaling",
    "tsc_scale": "TSC scaling (AMD)",
    "vmcb_clean": "VMCB clean bits",
    "sev": "encrypted VMs",
    "sev_es": "encrypted VM state",
    "sev_snp": "encrypted VMs with integrity",
    "tdx_host_platform": "Intel TDX host",
    "x2apic": "x2APIC",
    "constant_tsc": "TSC at a constant rate",
    "nonstop_tsc": "TSC in deep sleep",
    "tsc_deadline_timer": "APIC timer by TSC",
    "pdpe1gb": "1 GiB pages",
    "la57": "five-level page tables",
    "pcid": "tagged TLB",
    "invpcid": "INVPCID",
    "fsgsbase": "FSGSBASE",
    "smep": "no supervisor execution of user pages",
    "smap": "no supervisor access to user pages",
    "umip": "user-mode instruction prevention",
    "xsaves": "XSAVES",
    "rdtscp": "RDTSCP",
    "arch_capabilities": "mitigation MSRs",
    "md_clear": "buffers cleared by VERW",
    "flush_l1d": "L1D flush",
    "hypervisor": "this machine is a guest itself",
}
"""Flags of /proc/cpuinfo that decide what KVM can do, or how fast; in words."""


def gather(setting: Setting) -> Json:
    """The section's data."""
    root = setting.root
    uname = os.uname()
    module, kind = host.back_end(root, setting.machine)
    signature = hypervisor_signature() if root == Path("/") else ""
    return {
        "kernel": {
            "release": uname.release,
            "version": uname.version,
            "build": host.read_text(root / "proc/version"),
            "machine": uname.machine,
            "cmdline_kvm": _cmdline(root),
        },
        "device": _device(setting),
        "modules": {name: _module(path) for name, path in host.kvm_modules(root).items()},
        "back_end": {"module": module, "virtualisation": kind, "mode": _mode(setting)},
        "cpu": _cpu(root),
        "hypervisor": {
            "inside": bool(host.hypervisor(root, signature)),
            "name": host.hypervisor(root, signature),
            "container": host.container(root),
        },
        "nested": _nested(root),
    }


def _cmdline(root: Path) -> list[str]:
    """The kernel's boot parameters that speak of KVM."""
    words = host.read_text(root / "proc/cmdline").split()
    return [word for word in words if word.startswith(("kvm", "nokvm", "no-kvm", "intel_iommu"))]


def _device(setting: Setting) -> Json:
    path = Path(setting.device)
    try:
        status = path.stat()
    except OSError as error:
        return {"path": str(path), "present": False, "error": os.strerror(error.errno or 0)}
    found: Json = {
        "path": str(path),
        "present": True,
        "mode": stat.filemode(status.st_mode),
        "owner": str(status.st_uid),
        "group": str(status.st_gid),
        "acl": _has_acl(path),
        "opens": os.access(path, os.R_OK | os.W_OK),
        "number": f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}",
    }
    with suppress(KeyError):
        found["owner"] = pwd.getpwuid(status.st_uid).pw_name
    with suppress(KeyError):
        found["group"] = grp.getgrgid(status.st_gid).gr_name
    return found | _ask_device(str(path))


def _has_acl(path: Path) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False


def _ask_device(path: str) -> Json:
    try:
        from kvmabi.kvm import System  # noqa: PLC0415 (not on every architecture)

        with System.open(path) as system:
            return {
                "api_version": system.call("KVM_GET_API_VERSION"),
                "mmap_size_bytes": system.mmap_size_bytes,
            }
    except (KvmAbiError, OSError) as error:
        return {"error": str(error)}


def _module(folder: Path) -> Json:
    parameters = {}
    with suppress(OSError):
        for path in sorted((folder / "parameters").iterdir()):
            parameters[path.name] = host.read_text(path, "(not readable)")
    return {
        "loadable": (folder / "initstate").exists(),
        "version": host.read_text(folder / "version"),
        "srcversion": host.read_text(folder / "srcversion"),
        "users": host.read_text(folder / "refcnt"),
        "taint": host.read_text(folder / "taint"),
        "parameters": parameters,
    }


def _mode(setting: Setting) -> str:
    """How the back end runs, where only the kernel log tells: arm64's VHE or nVHE."""
    if setting.machine != "aarch64":
        return ""
    words = {"VHE mode": "VHE", "Hyp nVHE mode": "nVHE", "Protected nVHE": "protected nVHE"}
    words |= {"Protected hVHE": "protected hVHE", "Hyp hVHE": "hVHE"}
    for line in host.kernel_log(setting.root):
        if line.startswith("kvm"):
            for text, mode in words.items():
                if f"{text} initialized" in line or f": {text}" in line:
                    return mode
    return "not known: the kernel log does not say, or may not be read"


def _cpu(root: Path) -> Json:
    info = host.cpuinfo(root)
    flags = host.cpu_flags(root)
    return {
        "model": info.get("model name", info.get("uarch", info.get("CPU part", ""))),
        "vendor": info.get("vendor_id", info.get("CPU implementer", "")),
        "family": info.get("cpu family", ""),
        "number": info.get("model", ""),
        "stepping": info.get("stepping", ""),
        "microcode": info.get("microcode", ""),
        "online": os.cpu_count() or 0,
        "usable": len(os.sched_getaffinity(0)),
        "virtualisation": cpu_offers() if root == Path("/") else "unknown",
        "flags": {name: text for name, text in FLAGS.items() if name in flags},
    }


def _nested(root: Path) -> Json:
    """Whether guests may be hypervisors: each back end's own switch."""
    found = {}
    for name in ("kvm_intel", "kvm_amd", "kvm_hv", "kvm"):
        value = host.read_text(root / "sys/module" / name / "parameters/nested")
        if value:
            found[name] = value in ("Y", "1")
    return {"parameters": found, "enabled": any(found.values()) if found else None}
