"""What capability values mean, and which capabilities kernels of an age ordinarily have.

Source: Documentation/virt/kvm/api.rst for masks and units; virt/kvm/kvm_main.c and
arch/x86/kvm/x86.c (kvm_vm_ioctl_check_extension), and their history, for what is answered by every
build of the major distributions on VMX and on SVM alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Mask:
    """A capability whose value is a bit mask, by the prefix (and suffix) of the header's names.

    `numbered`: the header's values are bit numbers. `extra`: bit numbers whose names are in
    another header than linux/kvm.h.
    """

    prefix: str
    suffix: str = ""
    numbered: bool = False
    extra: tuple[tuple[str, int], ...] = ()


MASKS: Final = {
    "KVM_CAP_ADJUST_CLOCK": Mask("KVM_CLOCK_"),
    "KVM_CAP_DISABLE_QUIRKS2": Mask("KVM_X86_QUIRK_"),
    "KVM_CAP_EXIT_HYPERCALL": Mask("KVM_HC_", extra=(("KVM_HC_MAP_GPA_RANGE", 12),)),
    "KVM_CAP_GUEST_MEMFD_FLAGS": Mask("GUEST_MEMFD_FLAG_"),
    "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2": Mask("KVM_DIRTY_LOG_"),
    "KVM_CAP_MEMORY_ATTRIBUTES": Mask("KVM_MEMORY_ATTRIBUTE_"),
    "KVM_CAP_PMU_CAPABILITY": Mask("KVM_PMU_CAP_"),
    "KVM_CAP_SET_GUEST_DEBUG2": Mask("KVM_GUESTDBG_"),
    "KVM_CAP_SYNC_REGS": Mask("KVM_SYNC_X86_"),
    "KVM_CAP_VM_TYPES": Mask("KVM_X86_", suffix="_VM", numbered=True),
    "KVM_CAP_X2APIC_API": Mask("KVM_X2APIC_"),
    "KVM_CAP_X86_BUS_LOCK_EXIT": Mask("KVM_BUS_LOCK_DETECTION_"),
    "KVM_CAP_X86_DISABLE_EXITS": Mask("KVM_X86_DISABLE_EXITS_"),
    "KVM_CAP_X86_NOTIFY_VMEXIT": Mask("KVM_X86_NOTIFY_VMEXIT_"),
    "KVM_CAP_XEN_HVM": Mask("KVM_XEN_HVM_CONFIG_"),
}

UNITS: Final = {
    "KVM_CAP_ARM_VM_IPA_SIZE": "bits of guest-physical address at most",
    "KVM_CAP_COALESCED_MMIO": "page of the vCPU's mapping that holds the ring",
    "KVM_CAP_DIRTY_LOG_RING": "bytes of dirty ring at most",
    "KVM_CAP_DIRTY_LOG_RING_ACQ_REL": "bytes of dirty ring at most",
    "KVM_CAP_GUEST_DEBUG_HW_BPS": "hardware breakpoints",
    "KVM_CAP_GUEST_DEBUG_HW_WPS": "hardware watchpoints",
    "KVM_CAP_IRQ_ROUTING": "routes at most",
    "KVM_CAP_MAX_VCPUS": "vCPUs at most",
    "KVM_CAP_MAX_VCPU_ID": "vCPU ids at most (from 0)",
    "KVM_CAP_MCE": "banks of machine-check registers",
    "KVM_CAP_MULTI_ADDRESS_SPACE": "address spaces",
    "KVM_CAP_NESTED_STATE": "bytes of nested state at most",
    "KVM_CAP_NR_MEMSLOTS": "memory slots in each address space",
    "KVM_CAP_NR_VCPUS": "vCPUs recommended at most (host CPUs)",
    "KVM_CAP_PPC_SMT": "threads a core",
    "KVM_CAP_VM_GPA_BITS": "bits of guest-physical address",
    "KVM_CAP_XSAVE2": "bytes of XSAVE state",
}

_FOREIGN: Final = {
    "x86": ("X86_", "HYPERV", "SYS_HYPERV", "XEN_", "SGX_", "XSAVE", "XCRS", "MCE", "PIT"),
    "arm64": ("ARM_", "PTP_KVM"),
    "powerpc": ("PPC_", "SPAPR_", "IRQ_MPIC", "IRQ_XICS", "SW_TLB"),
    "s390": ("S390_",),
    "mips": ("MIPS_",),
    "riscv": ("RISCV_",),
}
_FAMILIES: Final = {
    "x86_64": "x86",
    "amd64": "x86",
    "i686": "x86",
    "aarch64": "arm64",
    "ppc64": "powerpc",
    "ppc64le": "powerpc",
    "s390x": "s390",
    "mips64": "mips",
    "riscv64": "riscv",
    "loongarch64": "loongarch",
}
_SHORT: Final = "KVM_CAP_"


def is_of(name: str, machine: str) -> bool:
    """Whether a capability may exist on this machine, as far as its name tells."""
    own = _FAMILIES.get(machine, machine)
    short = name.removeprefix(_SHORT)
    return not any(
        short.startswith(prefix)
        for family, prefixes in _FOREIGN.items()
        if family != own
        for prefix in prefixes
    )


@dataclass(frozen=True, slots=True)
class Common:
    """A capability that kernels since that release ordinarily have, and what it is for."""

    name: str
    since: str
    what: str

    @property
    def since_tuple(self) -> tuple[int, int]:
        """The release, to be compared."""
        return release_of(self.since)


def release_of(text: str) -> tuple[int, int]:
    """(major, minor) of a kernel release; (0, 0) where there is none in it."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


_EVERYWHERE: Final = """
USER_MEMORY 2.6 guest memory of user space's
DESTROY_MEMORY_REGION_WORKS 2.6 memory slots can be removed
JOIN_MEMORY_REGIONS_WORKS 2.6 adjoining memory slots
SYNC_MMU 2.6 guest memory can be swapped and mapped anew
IOEVENTFD 2.6 eventfds signalled by a guest's write
IOEVENTFD_ANY_LENGTH 4.4 ioeventfds of any length on any bus
IRQFD 2.6 eventfds that raise interrupts
IRQFD_RESAMPLE 3.8 level-triggered irqfds
CHECK_EXTENSION_VM 3.17 capabilities asked of a VM
IMMEDIATE_EXIT 4.13 KVM_RUN left without a race
COALESCED_MMIO 2.6 writes gathered in a ring
COALESCED_PIO 4.20 port writes gathered in a ring
MANUAL_DIRTY_LOG_PROTECT2 5.2 dirty log cleared in parts
HALT_POLL 5.10 halt polling set per VM
BINARY_STATS_FD 5.14 statistics without debugfs
USER_MEMORY2 6.8 guest memory with guest_memfd
MEMORY_FAULT_INFO 6.8 faults reported to user space
"""

_X86: Final = """
IRQCHIP 2.6 PIC, IOAPIC and APIC in the kernel
HLT 2.6 HLT handled
SPLIT_IRQCHIP 4.4 APIC in the kernel, IOAPIC in user space
PIT2 2.6 timer in the kernel
IOEVENTFD_NO_LENGTH 4.0 any-length MMIO ioeventfds
IRQ_ROUTING 2.6 interrupt routes
SIGNAL_MSI 3.5 MSIs sent by user space
READONLY_MEM 3.7 read-only memory slots (ROM)
X86_SMM 4.1 system management mode (firmware with secure boot)
MULTI_ADDRESS_SPACE 4.1 a second address space, for SMM
NESTED_STATE 4.19 guests that are hypervisors can be migrated
HYPERV 2.6 Hyper-V enlightenments (Windows guests)
HYPERV_VAPIC 2.6 Hyper-V APIC assists
HYPERV_SPIN 2.6 Hyper-V spinlock hints
HYPERV_TIME 3.15 Hyper-V clocks
HYPERV_SYNIC 4.5 Hyper-V synthetic interrupts
HYPERV_SYNIC2 4.13 Hyper-V synthetic interrupts, second form
HYPERV_VP_INDEX 4.13 Hyper-V processor numbers
HYPERV_EVENTFD 4.16 Hyper-V events signalled to an eventfd
HYPERV_TLBFLUSH 4.18 Hyper-V TLB flushes
HYPERV_SEND_IPI 4.20 Hyper-V interrupts between processors
HYPERV_CPUID 5.0 Hyper-V CPUID listed, for a vCPU
SYS_HYPERV_CPUID 5.11 Hyper-V CPUID listed, for the system
HYPERV_ENFORCE_CPUID 5.14 Hyper-V features only as CPUID says
ASYNC_PF 2.6 asynchronous page faults
ASYNC_PF_INT 5.8 asynchronous page faults by interrupt
TSC_DEADLINE_TIMER 3.1 APIC timer by TSC
GET_TSC_KHZ 2.6 TSC frequency
ADJUST_CLOCK 2.6 kvmclock set and read
KVMCLOCK_CTRL 3.5 guests told of a pause
STEAL_TIME 5.10 stolen time
XSAVE 2.6 XSAVE state
XCRS 2.6 extended control registers
DEBUGREGS 2.6 debug registers
MCE 2.6 machine checks injected
X2APIC_API 4.7 32-bit APIC ids
SYNC_REGS 4.17 registers in kvm_run
GET_MSR_FEATURES 4.17 feature MSRs
X86_DISABLE_EXITS 4.17 HLT, MWAIT or PAUSE without exit
MSR_PLATFORM_INFO 4.19 platform info MSR
EXCEPTION_PAYLOAD 4.20 exceptions migrated with their payload
PMU_EVENT_FILTER 5.3 performance events filtered
X86_USER_SPACE_MSR 5.10 MSRs handled in user space
X86_MSR_FILTER 5.10 MSRs filtered
ENFORCE_PV_FEATURE_CPUID 5.10 paravirtual features only as CPUID says
DIRTY_LOG_RING 5.11 dirty pages in a ring
SET_GUEST_DEBUG2 5.12 kinds of debugging listed
SREGS2 5.14 page-directory pointers with the registers
EXIT_HYPERCALL 5.14 hypercalls handed to user space
EXIT_ON_EMULATION_FAILURE 5.14 failed emulation handed to user space
VCPU_ATTRIBUTES 5.16 TSC offset of a vCPU
XSAVE2 5.17 XSAVE state beyond 4 KiB
SYS_ATTRIBUTES 5.17 permitted XSAVE state
DISABLE_QUIRKS2 5.19 quirks listed
PMU_CAPABILITY 5.18 performance counters, which a VM can do without
X86_TRIPLE_FAULT_EVENT 6.0 triple faults saved
PMU_EVENT_MASKED_EVENTS 6.3 performance events filtered by mask
VM_TYPES 6.8 kinds of VM listed
PRE_FAULT_MEMORY 6.11 memory mapped ahead
"""


def _table(text: str) -> tuple[Common, ...]:
    rows = (line.split(" ", 2) for line in text.strip().splitlines())
    return tuple(Common(_SHORT + name, since, what) for name, since, what in rows)


_COMMON_EVERYWHERE: Final = _table(_EVERYWHERE)
_COMMON_X86: Final = _table(_X86)


def common(machine: str) -> tuple[Common, ...]:
    """The capabilities that kernels ordinarily have on this machine."""
    if _FAMILIES.get(machine) == "x86":
        return _COMMON_EVERYWHERE + _COMMON_X86
    return _COMMON_EVERYWHERE
