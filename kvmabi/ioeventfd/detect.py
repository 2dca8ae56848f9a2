"""What the contract must know of the kernel under test, read from that kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kvmabi import uapi
from kvmabi.abi import btf
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.kvm import System

PREFIX: Final = "kvm_ioeventfd_flag_nr_"
MASK_NAME: Final = "KVM_IOEVENTFD_VALID_FLAG_MASK"


def detect_kernel(system: System, btf_folder: Path = btf.FOLDER) -> Kernel:
    """Return the running kernel's valid flags, where they were read, and its capabilities.

    The kernel's own BTF comes first; without it the built-in ABI's mask stands in, without what
    our overlays add to it.
    """
    mask, source, pv_mmio = _flags(btf_folder)
    return Kernel(
        valid_flag_mask=mask,
        mask_source=source,
        any_length=system.check_extension(uapi.KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0,
        no_length=system.check_extension(uapi.KVM_CAP_IOEVENTFD_NO_LENGTH) > 0,
        pv_mmio=pv_mmio,
    )


def _flags(btf_folder: Path) -> tuple[int, str, int]:
    """Return the valid flag mask, its source, and the bit of PV_MMIO (0 where there is none)."""
    found = btf.enumerators(PREFIX, folder=btf_folder)
    if PREFIX + "max" in found:
        pv_mmio = found.get(PREFIX + "pv_mmio")
        mask = (1 << found[PREFIX + "max"]) - 1
        return mask, "BTF", 0 if pv_mmio is None else 1 << pv_mmio
    base = uapi.OVERLAY_BASE.get(MASK_NAME, uapi.KVM_IOEVENTFD_VALID_FLAG_MASK)
    return base, f"the built-in ABI, Linux {uapi.ABI_VERSION}", 0
