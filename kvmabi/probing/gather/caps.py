"""Every KVM_CAP_* of the ABI, and the numbers behind it, asked of the system and of a VM."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from kvmabi.errors import IoctlError
from kvmabi.kvm import VM, System
from kvmabi.probing.gather.common import abi_version, constants, decode_mask
from kvmabi.probing.knowledge import caps as known
from kvmabi.probing.report import Json
from kvmabi.probing.setting import Setting

BEYOND: Final = 1024
"""Numbers below this are asked, named or not; the newest name is about 250."""


def gather(setting: Setting) -> Json:
    """The section's data: the named ones by number, and those that answer without a name."""
    with System.open(setting.device) as system, system.create_vm() as vm:
        names = {number: name for name, number in constants("KVM_CAP_", setting).items()}
        found = [_ask(system, vm, number, names[number], setting) for number in sorted(names)]
        unnamed = [
            {"number": number, "system": system_value, "vm": vm_value}
            for number in range(BEYOND)
            if number not in names
            for system_value, vm_value in [_values(system, vm, number)]
            if system_value or vm_value
        ]
    return {
        "abi_version": abi_version(setting),
        "newest": max(names),
        "asked_below": BEYOND,
        "capabilities": found,
        "unknown": unnamed,
        "missing_common": _missing_common(found, setting),
    }


def _values(system: System, vm: VM, number: int) -> tuple[int, int | None]:
    """What the system and the VM say; None where this kernel's VMs cannot be asked."""
    try:
        vm_value: int | None = vm.check_extension(number) & 0xFFFF_FFFF
    except IoctlError:
        vm_value = None
    try:
        system_value = system.check_extension(number) & 0xFFFF_FFFF
    except IoctlError:
        system_value = 0
    return system_value, vm_value


def _ask(system: System, vm: VM, number: int, name: str, setting: Setting) -> Json:
    system_value, vm_value = _values(system, vm, number)
    found: Json = {
        "name": name,
        "number": number,
        "system": system_value,
        "vm": vm_value,
        "here": known.is_of(name, setting.machine),
    }
    value = system_value if vm_value is None else vm_value
    mask = _bit_names(known.MASKS[name], setting) if name in known.MASKS else {}
    if mask and value:
        found |= _decoded(system_value, mask)
        if vm_value is not None and vm_value != system_value:
            found["vm_decoded"] = _decoded(vm_value, mask)
    elif name in known.UNITS and value:
        found["unit"] = known.UNITS[name]
    return found


def _bit_names(mask: known.Mask, setting: Setting) -> dict[str, int]:
    """The names of a mask's bits; none where this architecture's header has none."""
    names = dict(constants(mask.prefix, setting))
    if mask.suffix:
        names = {name: bit for name, bit in names.items() if name.endswith(mask.suffix)}
    if mask.numbered:
        names = {name: 1 << bit for name, bit in names.items() if 0 <= bit < 32}
    return names | {name: 1 << bit for name, bit in mask.extra}


def _decoded(value: int, names: Mapping[str, int]) -> Json:
    found, rest = decode_mask(value, names)
    return {"bits": found, "unnamed_bits": rest}


def _missing_common(found: list[Json], setting: Setting) -> list[Json]:
    release = known.release_of(os.uname().release)
    values = {one["name"]: one["system"] or one["vm"] for one in found}
    return [
        {"name": each.name, "since": each.since, "what": each.what}
        for each in known.common(setting.machine)
        if each.name in values and not values[each.name] and release >= each.since_tuple
    ]
