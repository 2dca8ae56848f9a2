"""Whether this machine can lend its own virtualisation to a kernel under test, and whose it is.

Source: Documentation/virt/kvm/x86/running-nested-guests.rst.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kvmabi.errors import LabUnavailable
from kvmabi.lab.backends import KVM, Backend

INSTEAD: Final = "svm and vmx are emulated, and work anywhere"


@dataclass(frozen=True, slots=True)
class Virtualisation:
    """A kind of virtualisation: the CPU's flag in /proc/cpuinfo, and KVM's module for it."""

    flag: str
    module: str


KINDS: Final = (Virtualisation("vmx", "kvm_intel"), Virtualisation("svm", "kvm_amd"))


def resolved(backend: Backend, root: Path = Path("/")) -> Backend:
    """Return the back end with the KVM module that this machine's CPU calls for.

    One that is emulated is returned as it is. Raises LabUnavailable, with the reason and what to
    do, where this machine's KVM cannot have a KVM inside.
    """
    if backend.accelerator != KVM:
        return backend
    device = root / "dev/kvm"
    if not os.access(device, os.R_OK | os.W_OK):
        raise _cannot(backend, "/dev/kvm is not there, or not to be opened by this user")
    kind = _kind(backend, root)
    nested = root / "sys/module" / kind.module / "parameters/nested"
    if not nested.is_file():
        raise _cannot(backend, f"its CPU has {kind.flag}, but its KVM is not {kind.module}")
    if nested.read_text().strip() not in ("Y", "1"):
        raise _cannot(
            backend,
            f"{kind.module} nests no guests (as root, with no VM running: "
            f"modprobe -r {kind.module}; modprobe {kind.module} nested=1)",
        )
    return replace(backend, module=kind.module)


def _kind(backend: Backend, root: Path) -> Virtualisation:
    flags = _cpu_flags(root / "proc/cpuinfo")
    for kind in KINDS:
        if kind.flag in flags:
            return kind
    raise _cannot(backend, "its CPU shows neither vmx nor svm")


def _cpu_flags(path: Path) -> set[str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    texts = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return set(next(texts, "").split())


def _cannot(backend: Backend, why: str) -> LabUnavailable:
    return LabUnavailable(
        f"the back end {backend.name} needs this machine to nest virtualisation: {why}; {INSTEAD}"
    )
