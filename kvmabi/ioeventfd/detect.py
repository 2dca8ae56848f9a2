"""What the contract must know of the kernel under test, read from that kernel."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kvmabi import uapi
from kvmabi.abi import btf
from kvmabi.errors import KvmUnavailable, UsageError
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.offer import STAND_IN
from kvmabi.kvm import System

if TYPE_CHECKING:
    from kvmabi.abi.facts import Facts  # a kernel under test need not load what reads headers

PREFIX: Final = "kvm_ioeventfd_flag_nr_"
MASK_NAME: Final = "KVM_IOEVENTFD_VALID_FLAG_MASK"
BTF: Final = "BTF"


@dataclass(frozen=True, slots=True)
class HeaderFlags:
    """What headers that the user names say of the flags; `label` is what the user named."""

    label: str
    valid_flag_mask: int
    pv_mmio: int

    @classmethod
    def of(cls, facts: Facts, label: str) -> HeaderFlags:
        """The flags in the facts of these headers; UsageError where they have no mask."""
        values = {
            name: fact.value
            for name, fact in facts.constants.items()
            if isinstance(fact.value, int)
        }
        mask = values.get(MASK_NAME)
        if mask is None and PREFIX + "max" in values:
            mask = (1 << values[PREFIX + "max"]) - 1
        if mask is None:
            raise UsageError(f"{label} has no {MASK_NAME}")
        return cls(label, mask, values.get("KVM_IOEVENTFD_FLAG_PV_MMIO", 0))

    def disagreement(self, kernel: Kernel) -> str:
        """Why these flags are not those of the kernel as detected; empty where they are."""
        if (self.valid_flag_mask, self.pv_mmio) == (kernel.valid_flag_mask, kernel.pv_mmio):
            return ""
        return (
            f"the valid flag mask is {self.valid_flag_mask:#x} in {self.label} and"
            f" {kernel.valid_flag_mask:#x} in the running kernel's {kernel.mask_source}, which"
            " counts: is that the kernel of these headers?"
        )


def detect_kernel(
    system: System, btf_folder: Path = btf.FOLDER, headers: HeaderFlags | None = None
) -> Kernel:
    """Return the running kernel's valid flags, where they were read, and its capabilities.

    The kernel's own BTF comes first, then `headers`; without both the built-in ABI's mask stands
    in, without what our overlays add to it. Raises KvmUnavailable where there are no ioeventfds.
    """
    if system.check_extension(uapi.KVM_CAP_IOEVENTFD) <= 0:
        raise KvmUnavailable(
            "this kernel's KVM has no ioeventfds (KVM_CAP_IOEVENTFD), so there is nothing to check"
        )
    mask, source, pv_mmio = _flags(btf_folder, headers)
    return Kernel(
        valid_flag_mask=mask,
        mask_source=source,
        any_length=system.check_extension(uapi.KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0,
        no_length=system.check_extension(uapi.KVM_CAP_IOEVENTFD_NO_LENGTH) > 0,
        pv_mmio=pv_mmio,
    )


@functools.cache
def btf_flags(folder: Path) -> Mapping[str, int]:
    """Return the ioeventfd flags' enumerators in a kernel's BTF, name to value; read once."""
    return btf.enumerators(PREFIX, folder=folder)


def _flags(btf_folder: Path, headers: HeaderFlags | None = None) -> tuple[int, str, int]:
    """Return the valid flag mask, its source, and the bit of PV_MMIO (0 where there is none)."""
    found = btf_flags(btf_folder)
    if PREFIX + "max" in found:
        pv_mmio = found.get(PREFIX + "pv_mmio")
        mask = (1 << found[PREFIX + "max"]) - 1
        return mask, BTF, 0 if pv_mmio is None else 1 << pv_mmio
    if headers is not None:
        return headers.valid_flag_mask, f"the headers {headers.label}", headers.pv_mmio
    base = uapi.OVERLAY_BASE.get(MASK_NAME, uapi.KVM_IOEVENTFD_VALID_FLAG_MASK)
    return base, f"{STAND_IN}, Linux {uapi.ABI_VERSION}", 0
