"""A VM's fd: memory, vCPUs, ioeventfds, and the interrupt controllers that the kernel has."""

from __future__ import annotations

import ctypes
from fcntl import ioctl
from typing import TYPE_CHECKING

from kvmabi import uapi
from kvmabi.errors import IoctlError
from kvmabi.kvm.fd import KvmFd
from kvmabi.kvm.vcpu import Vcpu

if TYPE_CHECKING:
    from kvmabi.kvm.system import System

_KVM_IOEVENTFD = uapi.KVM_IOEVENTFD
_libc = ctypes.CDLL(None, use_errno=True)


class VM(KvmFd):
    """A virtual machine, without memory and vCPUs until they are added.

    The kernel keeps a VM until the last of its fds and mappings is gone: close its vCPUs too.
    """

    kind = "VM"

    def __init__(self, fd: int, system: System) -> None:
        super().__init__(fd)
        self.system = system

    def check_extension(self, capability: int) -> int:
        """What KVM says to KVM_CHECK_EXTENSION for this VM: 0 for no, and for yes 1 or a number."""
        return self.call("KVM_CHECK_EXTENSION", capability)

    def set_user_memory_region(
        self, slot: int, gpa: int, size_bytes: int, hva: int, flags: int = 0
    ) -> None:
        """Back guest memory at `gpa` by this process' memory at `hva`; both page aligned.

        `slot` counts from 0; a size of 0 takes the slot away. The memory must outlive the VM.
        """
        region = uapi.kvm_userspace_memory_region()
        region.slot = slot
        region.flags = flags
        region.guest_phys_addr = gpa
        region.memory_size = size_bytes
        region.userspace_addr = hva
        self.call("KVM_SET_USER_MEMORY_REGION", region)

    def register_coalesced(self, address: int, size_bytes: int, *, pio: bool = False) -> None:
        """Have writes to a range gathered in a ring, not exit; `address` a gpa or a port."""
        zone = uapi.kvm_coalesced_mmio_zone()
        zone.addr = address
        zone.size = size_bytes
        zone.pio = pio
        self.call("KVM_REGISTER_COALESCED_MMIO", zone)

    def set_tss_address(self, gpa: int) -> None:
        """Give KVM three pages of guest-physical space below 4 GiB that no memslot uses.

        Source: Documentation/virt/kvm/api.rst, KVM_SET_TSS_ADDR (needed on Intel's back end).
        """
        # fcntl.ioctl takes ints of 32 signed bits only, and this one is an address.
        request, address = ctypes.c_ulong(uapi.KVM_SET_TSS_ADDR), ctypes.c_ulong(gpa)
        if _libc.ioctl(self.fd, request, address) < 0:
            raise IoctlError(ctypes.get_errno(), "KVM_SET_TSS_ADDR", self.kind)

    def set_identity_map_address(self, gpa: int) -> None:
        """Give KVM one more such page; before the first vCPU."""
        self.call("KVM_SET_IDENTITY_MAP_ADDR", bytearray(gpa.to_bytes(8, "little")))

    def create_irqchip(self) -> None:
        """Have the kernel emulate PIC, I/O APIC and, in each vCPU made after this, a local APIC."""
        self.call("KVM_CREATE_IRQCHIP")

    def create_pit(self) -> None:
        """Have the kernel emulate the interval timer and port 0x61; after `create_irqchip`."""
        config = uapi.kvm_pit_config()
        config.flags = uapi.KVM_PIT_SPEAKER_DUMMY
        self.call("KVM_CREATE_PIT2", config)

    def set_irq_line(self, gsi: int, level: bool) -> None:
        """Raise or lower an interrupt line of the kernel's controllers."""
        line = uapi.kvm_irq_level()
        line.irq = gsi
        line.level = level
        self.call("KVM_IRQ_LINE", line)

    def create_vcpu(self, index: int) -> Vcpu:
        """The vCPU with this id."""
        return Vcpu(self.call("KVM_CREATE_VCPU", index), index, self.system.mmap_size_bytes)

    def try_ioeventfd(self, arg: uapi.kvm_ioeventfd) -> int:
        """Errno of KVM_IOEVENTFD with this argument, and 0 where it succeeds.

        The kernel waits for a grace period in each successful call, so this is to be called from
        many threads at once (one VM a thread); it lets go of the GIL.
        """
        try:
            ioctl(self.fd, _KVM_IOEVENTFD, arg)
        except OSError as error:
            return error.errno or 0
        return 0

    def ioeventfd(self, arg: uapi.kvm_ioeventfd) -> None:
        """Assign or deassign an ioeventfd; raises IoctlError. Source: virt/kvm/eventfd.c."""
        errno = self.try_ioeventfd(arg)
        if errno:
            raise IoctlError(errno, "KVM_IOEVENTFD", self.kind)
