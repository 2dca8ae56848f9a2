"""The MSRs that KVM saves and restores, and the feature MSRs with the values that it offers."""

from __future__ import annotations

import struct
from typing import Final

from kvmabi.errors import IoctlError
from kvmabi.kvm import System
from kvmabi.probing.gather.common import errno_name
from kvmabi.probing.knowledge.msrs import msr_name
from kvmabi.probing.report import Json
from kvmabi.probing.setting import Setting, Skip

MOST: Final = 4096
_ENTRY: Final = struct.Struct("=IIQ")
"""struct kvm_msr_entry: index, reserved, data."""
_HEADER_BYTES: Final = 8
"""struct kvm_msrs before its entries: nmsrs, pad."""


def gather(setting: Setting) -> Json:
    """The section's data; every index is a number, with its name where one is known."""
    if not setting.is_x86:
        raise Skip("MSRs are x86's")
    with System.open(setting.device) as system:
        saved = _indices(system, "KVM_GET_MSR_INDEX_LIST")
        try:
            features, reason = _indices(system, "KVM_GET_MSR_FEATURE_INDEX_LIST"), ""
        except IoctlError as error:
            features, reason = [], f"{errno_name(error.errno or 0)}: before Linux 4.17"
        return {
            "saved": [{"index": index, "name": msr_name(index)} for index in saved],
            "features": [
                {"index": index, "name": msr_name(index), "value": _value(system, index)}
                for index in features
            ],
            "features_reason": reason,
        }


def _indices(system: System, name: str) -> list[int]:
    argument = bytearray(4 + 4 * MOST)
    struct.pack_into("=I", argument, 0, MOST)
    system.call(name, argument)
    (count,) = struct.unpack_from("=I", argument)
    return sorted(struct.unpack_from(f"={min(count, MOST)}I", argument, 4))


def _value(system: System, index: int) -> int | None:
    """A feature MSR's value; None where the kernel lists it and does not give it."""
    argument = bytearray(_HEADER_BYTES + _ENTRY.size)
    struct.pack_into("=I", argument, 0, 1)
    _ENTRY.pack_into(argument, _HEADER_BYTES, index, 0, 0)
    try:
        read = system.call("KVM_GET_MSRS", argument)
    except IoctlError:
        return None
    value: int = _ENTRY.unpack_from(argument, _HEADER_BYTES)[2]
    return value if read == 1 else None
