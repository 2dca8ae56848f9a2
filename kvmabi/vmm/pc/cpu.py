"""What a vCPU of the PC is: its CPUID, and its registers where a multiboot loader leaves it.

Source: Multiboot Specification 0.6.96, 3.2 (machine state); Intel SDM volume 2A, CPUID.
"""

from __future__ import annotations

from typing import Final

from kvmabi import uapi
from kvmabi.kvm import Cpuid, System, Vcpu
from kvmabi.vmm import boot
from kvmabi.vmm.pc.multiboot import BOOT_MAGIC

FEATURES_LEAF: Final = 1
TOPOLOGY_LEAVES: Final = (0x0B, 0x1F)
ADDRESSES_LEAF: Final = 0x8000_0008
"""EAX bits 0 to 7 are the bits of a physical address."""
WITHOUT_ADDRESSES_LEAF: Final = 36
ECX_TSC_DEADLINE: Final = 1 << 24
ECX_HYPERVISOR: Final = 1 << 31


def cpuid_of(system: System, index: int, cpus: int) -> Cpuid:
    """All that KVM supports, told as CPU `index` of `cpus`, whose local APIC has that number."""
    extra = ECX_HYPERVISOR
    if system.check_extension(uapi.KVM_CAP_TSC_DEADLINE_TIMER):
        extra |= ECX_TSC_DEADLINE  # needs the kernel's local APIC, so KVM leaves it out by itself
    entries = list(system.supported_cpuid)
    for entry in entries:
        if entry.function == FEATURES_LEAF:
            entry.ebx = entry.ebx & 0xFFFF | cpus << 16 | index << 24
            entry.ecx |= extra
        elif entry.function in TOPOLOGY_LEAVES:
            entry.edx = index
    return Cpuid.of(entries)


def physical_address_bits(system: System) -> int:
    """How many bits a physical address of the guest has."""
    leaf = system.supported_cpuid.find(ADDRESSES_LEAF)
    return leaf.eax & 0xFF if leaf else WITHOUT_ADDRESSES_LEAF


def enter_multiboot(vcpu: Vcpu, entry: int, info_gpa: int) -> None:
    """Put the vCPU into flat 32-bit protected mode at `entry`, with the loader's two registers."""
    sregs = vcpu.get_sregs()
    boot.flat_segment(sregs.cs, boot.CODE_SELECTOR, boot.TYPE_CODE, long_mode=0)
    for segment in (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss):
        boot.flat_segment(segment, boot.DATA_SELECTOR, boot.TYPE_DATA, long_mode=0)
    sregs.cr0 = boot.CR0_PE | boot.CR0_ET
    vcpu.set_sregs(sregs)
    regs = uapi.kvm_regs()
    regs.rip, regs.rax, regs.rbx = entry, BOOT_MAGIC, info_gpa
    regs.rflags = boot.RFLAGS_ALWAYS_ONE
    vcpu.set_regs(regs)
