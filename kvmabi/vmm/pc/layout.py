"""Where things lie in the PC: as in QEMU's `pc` machine, which such guests know."""

from __future__ import annotations

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

FREE_GPA: Final = 0x1000
"""An image may lie from here on: below are a real-mode guest's vectors and firmware's data."""
INFO_GPA: Final = 0x9_F000
"""The multiboot information, with the memory map and the command line behind it, at the end of
conventional memory, where firmware would keep its own data: an image may take all below."""
INFO_BYTES: Final = 0x1000
LOW_END: Final = INFO_GPA + INFO_BYTES
"""Conventional memory ends here; a hole for video memory follows."""
BIOS_GPA: Final = 0xE_0000
"""From here to 1 MiB a guest looks for the ACPI tables: they are RAM of ours."""
ACPI_GPA: Final = 0xF_5000
HIGH_GPA: Final = MIB
MAX_LOW_RAM: Final = 3 * GIB
"""RAM beyond this goes to 4 GiB and up, since devices lie below."""
ABOVE_4_GIB: Final = 4 * GIB
MAX_RAM: Final = 16 * GIB

IDENTITY_MAP_GPA: Final = 0xFEFF_C000
TSS_GPA: Final = 0xFEFF_D000
"""One page, and three, that KVM keeps for itself."""
LOCAL_APIC_GPA: Final = 0xFEE0_0000
IO_APIC_GPA: Final = 0xFEC0_0000

BAR0_GPA: Final = 0xFEBF_F000
BAR1_PORT: Final = 0xC000
BAR2_LEAST_GPA: Final = 0x8_0000_0000
"""pci-testdev's BARs where firmware would have put them; BAR2 is above all RAM."""
TESTDEV_BDF: Final = 0x0010
"""00:02.0"""

FW_CFG_PORT: Final = 0x510
SERIAL_PORT: Final = 0x3F8
PM_EVENT_PORT: Final = 0x600
PM_CONTROL_PORT: Final = 0x604
PM_TIMER_PORT: Final = 0x608
DEBUG_EXIT_PORT: Final = 0xF4
MAX_VCPUS: Final = 64


def bar2_gpa(size_bytes: int) -> int:
    """Where a BAR2 of this size lies: at a multiple of its size, as every BAR."""
    return max(BAR2_LEAST_GPA, size_bytes)
