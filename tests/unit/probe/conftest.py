"""Reports to compare, and roots of machines that are not this one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from kvmabi.probing.report import Report, Section


def capability(number: int, value: int, **more: Any) -> dict[str, Any]:
    name = f"KVM_CAP_TEST_{number}"
    return {"name": name, "number": number, "system": value, "vm": value, "here": True} | more


SUBSTRATE: dict[str, Any] = {
    "kernel": {
        "release": "6.1.0",
        "version": "#1",
        "build": "",
        "machine": "x86_64",
        "cmdline_kvm": [],
    },
    "device": {"path": "/dev/kvm", "present": False, "error": "No such file or directory"},
    "modules": {
        "kvm": {
            "loadable": True,
            "version": "",
            "srcversion": "",
            "users": "0",
            "taint": "",
            "parameters": {"halt_poll_ns": "200000"},
        }
    },
    "back_end": {"module": "kvm_intel", "virtualisation": "vmx", "mode": ""},
    "cpu": {
        "model": "A CPU",
        "vendor": "GenuineIntel",
        "family": "6",
        "number": "1",
        "stepping": "1",
        "microcode": "0x1",
        "online": 2,
        "usable": 2,
        "virtualisation": "vmx",
        "flags": {},
    },
    "hypervisor": {"inside": False, "name": "", "container": ""},
    "nested": {"parameters": {"kvm_intel": True}, "enabled": True},
}
CAPS: dict[str, Any] = {
    "abi_version": "7.2",
    "newest": 5,
    "asked_below": 1024,
    "capabilities": [
        capability(1, 1),
        capability(2, 0),
        capability(3, 0b11, bits=["A", "B"], unnamed_bits=0),
        capability(4, 1000, unit="things at most"),
    ],
    "unknown": [],
    "missing_common": [],
}
CPUID: dict[str, Any] = {
    key: {
        "entries": [],
        "features": [
            {"function": 1, "index": 0, "register": "ecx", "names": ["sse3"], "unnamed_bits": 0}
        ],
    }
    for key in ("supported", "emulated")
}
CPUID["emulated"]["reason"] = ""


def make_report(release: str = "6.1.0", **data: Any) -> Report:
    """A report with these sections, and the substrate above unless another is given."""
    sections = {"substrate": copy.deepcopy(SUBSTRATE)} | copy.deepcopy(data)
    return Report(
        kvmabi="0.1.0",
        started="2026-01-01T00:00:00+00:00",
        seconds=0.5,
        kernel_release=release,
        machine="x86_64",
        abi_version="7.2",
        kvm={"available": True},
        sections={name: Section("ok", 0.1, "", body) for name, body in sections.items()},
    )


class Root:
    """A machine's /proc, /sys, /dev and /lib, as files in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str = "") -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def cpu(self, flags: str, vendor: str = "GenuineIntel") -> None:
        self.write("proc/cpuinfo", f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\n")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root")
