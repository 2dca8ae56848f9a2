"""QEMU's fw_cfg, the port kind: a guest selects an item by number and reads it byte by byte.

Source: QEMU's docs/specs/fw_cfg.rst; there is no DMA, and there are no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PORTS: Final = 2
SELECTOR, DATA = 0, 1

SIGNATURE: Final = 0x00
FEATURES: Final = 0x01
RAM_SIZE: Final = 0x03
CPUS: Final = 0x05
MAX_CPUS: Final = 0x0F
TRADITIONAL_INTERFACE: Final = 1


def pc_items(ram_bytes: int, cpus: int) -> dict[int, bytes]:
    """The items that say how large this PC is."""
    return {
        SIGNATURE: b"QEMU",
        FEATURES: TRADITIONAL_INTERFACE.to_bytes(4, "little"),
        RAM_SIZE: ram_bytes.to_bytes(8, "little"),
        CPUS: cpus.to_bytes(2, "little"),
        MAX_CPUS: cpus.to_bytes(2, "little"),
    }


class FwCfg:
    """The selector (16 bits, at 0) and the data port (8 bits, at 1)."""

    def __init__(self, items: Mapping[int, bytes]) -> None:
        self._items = items
        self._item = b""
        self._at = 0

    def read(self, offset: int, size: int) -> bytes:
        """The next bytes of the item; zeroes behind its end, and for one that is not there."""
        if offset != DATA:
            return bytes(size)
        start, self._at = self._at, self._at + size
        return self._item[start : self._at].ljust(size, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        """Select an item, from its start."""
        if offset == SELECTOR and len(data) == 2:
            self._item = self._items.get(int.from_bytes(data, "little"), b"")
            self._at = 0
