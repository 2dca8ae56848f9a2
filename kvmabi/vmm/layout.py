"""Where things lie in the exerciser's machine.

RAM starts at 1 MiB, so that guest-physical address 0 and all that surrounds the BARs is backed by
nothing and every access there exits. Guest-virtual addresses equal guest-physical ones.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

RAM_GPA: Final = MIB
RAM_BYTES: Final = 256 * KIB
RAM_END: Final = RAM_GPA + RAM_BYTES

PML4_GPA: Final = RAM_GPA
PDPT_GPA: Final = RAM_GPA + 0x1000
PAGE_DIRECTORIES_GPA: Final = RAM_GPA + 0x2000
"""Eight page directories, used where the guest has no 1 GiB pages."""
GDT_GPA: Final = RAM_GPA + 0xA000
IMAGE_GPA: Final = RAM_GPA + 0x1_0000
"""Where exerciser.ld links the guest."""
IMAGE_END: Final = RAM_GPA + 0x2_0000

VCPU_AREA_GPA: Final = IMAGE_END
VCPU_AREA_BYTES: Final = 0x4000
"""A vCPU's own memory: its mailbox at the bottom, its stack down from the top."""
MAX_VCPUS: Final = (RAM_END - VCPU_AREA_GPA) // VCPU_AREA_BYTES

MAPPED_BYTES: Final = 8 * GIB
"""How much the guest maps, from 0: 2^32 above any BAR can be hit as well."""
PORTS: Final = 1 << 16

BAR0_GPA: Final = 0xE000_0000
"""Where the firmware, were there any, would have put pci-testdev's memory BAR."""
BAR1_PORT: Final = 0xC000
TESTDEV_BDF: Final = 0x0008
"""00:01.0"""


def mailbox_gpa(vcpu: int) -> int:
    """Where this vCPU's mailbox starts."""
    return VCPU_AREA_GPA + vcpu * VCPU_AREA_BYTES


def stack_top(vcpu: int) -> int:
    """The first byte behind this vCPU's stack."""
    return mailbox_gpa(vcpu) + VCPU_AREA_BYTES
