"""How much of everything: vCPUs, memory slots, dirty rings, VM types, clocks."""

from __future__ import annotations

import ctypes
from typing import Final

from kvmabi import uapi
from kvmabi.errors import KvmAbiError
from kvmabi.kvm import VM, System
from kvmabi.probing.gather.common import constants
from kvmabi.probing.report import Json
from kvmabi.probing.setting import Setting

_LIMITS: Final = (
    ("vcpus_recommended", "KVM_CAP_NR_VCPUS", "vCPUs"),
    ("vcpus", "KVM_CAP_MAX_VCPUS", "vCPUs"),
    ("vcpu_ids", "KVM_CAP_MAX_VCPU_ID", "ids"),
    ("memslots", "KVM_CAP_NR_MEMSLOTS", "slots in each address space"),
    ("address_spaces", "KVM_CAP_MULTI_ADDRESS_SPACE", "address spaces"),
    ("irq_routes", "KVM_CAP_IRQ_ROUTING", "routes"),
    ("mce_banks", "KVM_CAP_MCE", "banks"),
    ("xsave_bytes", "KVM_CAP_XSAVE2", "bytes"),
    ("nested_state_bytes", "KVM_CAP_NESTED_STATE", "bytes"),
    ("dirty_ring_bytes", "KVM_CAP_DIRTY_LOG_RING", "bytes for each vCPU"),
    ("dirty_ring_acq_rel_bytes", "KVM_CAP_DIRTY_LOG_RING_ACQ_REL", "bytes for each vCPU"),
)
_TYPE_MASK: Final = "KVM_CAP_VM_TYPES"


def gather(setting: Setting) -> Json:
    """The section's data."""
    with System.open(setting.device) as system, system.create_vm() as vm:
        limits: list[Json] = [
            {"name": name, "value": _value(vm, capability), "unit": unit, "capability": capability}
            for name, capability, unit in _LIMITS
            if hasattr(uapi, capability)  # some are x86's alone
        ]
        limits.append(
            {
                "name": "vcpu_mapping_bytes",
                "value": system.mmap_size_bytes,
                "unit": "bytes of a vCPU's mapping",
                "capability": "",
            }
        )
        ring = max(one["value"] for one in limits if str(one["name"]).startswith("dirty_ring"))
        return {
            "limits": limits,
            "dirty_ring_entries": ring // ctypes.sizeof(uapi.kvm_dirty_gfn),
            "vm_types": _vm_types(system, setting),
            "tsc_khz": _tsc_khz(vm) if setting.is_x86 else 0,
        }


def _value(vm: VM, capability: str) -> int:
    try:
        return vm.check_extension(getattr(uapi, capability)) & 0xFFFF_FFFF
    except KvmAbiError:
        return 0


def _vm_types(system: System, setting: Setting) -> list[Json]:
    """The kinds of VM that the kernel says it makes; type 0 is made by every kernel."""
    mask = system.check_extension(getattr(uapi, _TYPE_MASK)) | 1
    names = {
        value: name
        for name, value in constants("KVM_X86_", setting).items()
        if name.endswith("_VM") and 0 <= value < 32
    }
    return [
        {"type": number, "name": names.get(number, "")}
        for number in range(32)
        if mask >> number & 1
    ]


def _tsc_khz(vm: VM) -> int:
    with vm.create_vcpu(0) as vcpu:
        try:
            return vcpu.call("KVM_GET_TSC_KHZ")
        except KvmAbiError:
            return 0
