"""QEMU's pc-testdev, as the guests of kvm-unit-tests use it.

Ports 0xE0 to 0xE3 and 0xE8 to 0xEB hold what is written to them; a page number written to 0xE4 has
the page unmapped and mapped again; ports 0x2000 to 0x2017 are interrupt lines; 64 KiB of memory at
0xFF000000 are answered by exits. Source: the regions that QEMU's monitor shows (``info mtree``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kvmabi.vmm.bus import Bus

DATA_PORT: Final = 0xE0
FLUSH_PORT: Final = 0xE4
BYTE_PORT: Final = 0xE8
WORD_PORTS: Final = 4
IRQ_PORT: Final = 0x2000
IRQS: Final = 24
MEMORY_GPA: Final = 0xFF00_0000
MEMORY_BYTES: Final = 64 << 10


class Scratch:
    """Bytes that keep what is written to them."""

    def __init__(self, size: int) -> None:
        self._bytes = bytearray(size)

    def read(self, offset: int, size: int) -> bytes:
        """What was written last."""
        return bytes(self._bytes[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        """Keep this."""
        self._bytes[offset : offset + len(data)] = data


class FlushPort:
    """Unmaps and maps the page whose address is written, so that KVM must map it anew."""

    def __init__(self, flush: Callable[[int], object]) -> None:
        self._flush = flush

    def read(self, offset: int, size: int) -> bytes:
        """Zeroes."""
        return bytes(size)

    def write(self, offset: int, data: bytes) -> None:
        """Flush the page at this guest-physical address."""
        if offset == 0:
            self._flush(int.from_bytes(data, "little"))


class IrqLines:
    """One port a line: a write of 0 lowers it, and one of another value raises it."""

    def __init__(self, set_line: Callable[[int, bool], object]) -> None:
        self._set_line = set_line

    def read(self, offset: int, size: int) -> bytes:
        """Zeroes."""
        return bytes(size)

    def write(self, offset: int, data: bytes) -> None:
        """Set the line of this port."""
        self._set_line(offset, any(data))


def attach_pc_testdev(
    mmio: Bus, pio: Bus, flush: Callable[[int], object], set_line: Callable[[int, bool], object]
) -> None:
    """Put the device on the buses."""
    pio.attach(DATA_PORT, WORD_PORTS, Scratch(WORD_PORTS))
    pio.attach(FLUSH_PORT, WORD_PORTS, FlushPort(flush))
    pio.attach(BYTE_PORT, WORD_PORTS, Scratch(WORD_PORTS))
    pio.attach(IRQ_PORT, IRQS, IrqLines(set_line))
    mmio.attach(MEMORY_GPA, MEMORY_BYTES, Scratch(MEMORY_BYTES))
