"""An HPET's main counter, which counts while it is enabled; there are no comparators.

Source: IA-PC HPET Specification 1.0a, 2.3 (registers). The period is QEMU's: 10 ns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

GPA: Final = 0xFED0_0000
BYTES: Final = 0x400
CAPABILITIES, CONFIGURATION, COUNTER = 0x000, 0x010, 0x0F0
REGISTER_BYTES: Final = 8

PERIOD_NS: Final = 10
FS_PER_NS: Final = 1_000_000
VENDOR: Final = 0x8086
COUNTER_IS_64_BIT: Final = 1 << 13
REVISION: Final = 1
ENABLE: Final = 1 << 0
WRAP: Final = 1 << 64


class Hpet:
    """The registers; an access may take any part of one of them."""

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns
        self._configuration = 0
        self._base = 0
        """The counter while it stands; while it runs, what to add to the clock's ticks."""

    def read(self, offset: int, size: int) -> bytes:
        """The registers' bytes; zeroes where there is none."""
        register = offset & -REGISTER_BYTES
        start = offset - register
        return self._value(register).to_bytes(REGISTER_BYTES, "little")[start : start + size]

    def write(self, offset: int, data: bytes) -> None:
        """Set the configuration, or the counter."""
        register = offset & -REGISTER_BYTES
        start = offset - register
        value = bytearray(self._value(register).to_bytes(REGISTER_BYTES, "little"))
        value[start : start + len(data)] = data
        new = int.from_bytes(value[:REGISTER_BYTES], "little")
        if register == CONFIGURATION:
            self._configure(new & ENABLE)
        elif register == COUNTER:
            self._base = new - self._ticks

    def _value(self, register: int) -> int:
        if register == CAPABILITIES:
            return PERIOD_NS * FS_PER_NS << 32 | VENDOR << 16 | COUNTER_IS_64_BIT | REVISION
        if register == CONFIGURATION:
            return self._configuration
        return (self._base + self._ticks) % WRAP if register == COUNTER else 0

    @property
    def _ticks(self) -> int:
        return self._now_ns() // PERIOD_NS if self._configuration & ENABLE else 0

    def _configure(self, new: int) -> None:
        count = self._base + self._ticks
        self._configuration = new
        self._base = count - self._ticks
