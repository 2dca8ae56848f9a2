"""The CPUID that KVM can give to guests, and what of it it emulates although the CPU lacks it."""

from __future__ import annotations

from kvmabi import uapi
from kvmabi.errors import IoctlError
from kvmabi.kvm import Cpuid, System
from kvmabi.kvm.cpuid import ENTRY_BYTES, HEADER_BYTES
from kvmabi.kvm.system import MAX_CPUID_ENTRIES
from kvmabi.probing.gather.common import errno_name
from kvmabi.probing.knowledge.cpuid import features_of
from kvmabi.probing.report import Json
from kvmabi.probing.setting import Setting, Skip

_REGISTERS = ("eax", "ebx", "ecx", "edx")


def gather(setting: Setting) -> Json:
    """The section's data: `supported` and `emulated`, each with entries and feature names."""
    if not setting.is_x86:
        raise Skip("CPUID is x86's")
    with System.open(setting.device) as system:
        supported = describe(system.get_supported_cpuid())
        try:
            emulated = describe(_emulated(system)) | {"reason": ""}
        except IoctlError as error:
            emulated = {"entries": [], "features": []}
            emulated["reason"] = errno_name(error.errno or 0)
    return {"supported": supported, "emulated": emulated}


def _emulated(system: System) -> Cpuid:
    table = bytearray(HEADER_BYTES + MAX_CPUID_ENTRIES * ENTRY_BYTES)
    table[:4] = MAX_CPUID_ENTRIES.to_bytes(4, "little")
    system.call("KVM_GET_EMULATED_CPUID", table)
    count = min(int.from_bytes(table[:4], "little"), MAX_CPUID_ENTRIES)
    return Cpuid(bytes(table[: HEADER_BYTES + count * ENTRY_BYTES]))


def describe(table: Cpuid) -> Json:
    """The entries as numbers, and the features that they name, by leaf and register."""
    entries = []
    features = []
    for entry in table:
        values = {name: getattr(entry, name) for name in _REGISTERS}
        indexed = bool(entry.flags & uapi.KVM_CPUID_FLAG_SIGNIFCANT_INDEX)
        entries.append({"function": entry.function, "index": entry.index, "indexed": indexed})
        entries[-1] |= values
        for register in _REGISTERS:
            found = features_of(entry.function, entry.index, register, values[register])
            if found is not None:
                names, unnamed = found
                features.append(
                    {
                        "function": entry.function,
                        "index": entry.index,
                        "register": register,
                        "names": names,
                        "unnamed_bits": unnamed,
                    }
                )
    return {"entries": entries, "features": features}
