"""What a kernel offers, as a result keeps it, beside what a case is about. Pure: no device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.steps import Case, Ioeventfd

STAND_IN: Final = "the built-in ABI"
"""How the source of a mask begins that says nothing of the kernel itself."""
CAPABILITIES: Final = {
    "any_length": "KVM_CAP_IOEVENTFD_ANY_LENGTH",
    "no_length": "KVM_CAP_IOEVENTFD_NO_LENGTH",
}
"""What of a record is a capability, with its name."""


def recorded(kernel: Kernel) -> dict[str, str | int]:
    """Return what the run's record keeps of the kernel, in its "abi"."""
    return {
        "mask": kernel.valid_flag_mask,
        "mask_source": kernel.mask_source,
        "any_length": kernel.any_length,
        "no_length": kernel.no_length,
        "pv_mmio": kernel.pv_mmio,
    }


def from_record(abi: Mapping[str, object]) -> Kernel | None:
    """Return the kernel that `recorded` kept; None where a record says less of it."""
    match abi:
        case {
            "mask": int(mask),
            "mask_source": str(source),
            "any_length": bool(any_length),
            "no_length": bool(no_length),
            "pv_mmio": int(pv_mmio),
        }:
            return Kernel(mask, source, any_length, no_length, pv_mmio)
    return None


def lacking(case: Case, kernel: Kernel) -> str:
    """Return the name of what a case is about and the kernel does not offer; "" for nothing.

    Such a case passes where the kernel refuses as it must, and says no more than that.
    """
    for step in case.steps:
        if not isinstance(step, Ioeventfd):
            continue
        if step.pv_mmio and not kernel.pv_mmio:
            return "KVM_IOEVENTFD_FLAG_PV_MMIO"
        if step.len == 0 and step.wildcard and not kernel.takes_any_length(step.bus):
            return CAPABILITIES["any_length"]
    return ""
