"""The ACPI power-management registers: a timer that ticks, and event and control registers.

Source: ACPI Specification 6.5, 4.8.3.1 (event registers), 4.8.3.2 (control), 4.8.3.3 (timer).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

TIMER_HZ: Final = 3_579_545
TIMER_MASK: Final = (1 << 24) - 1
TIMER_PORTS: Final = 4
REGISTER_PORTS: Final = 4
NS_PER_S: Final = 1_000_000_000


class PmTimer:
    """The 24-bit counter, by the host's monotonic clock."""

    def __init__(self, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._now_ns = now_ns

    def read(self, offset: int, size: int) -> bytes:
        """The count, from this byte on."""
        count = self._now_ns() * TIMER_HZ // NS_PER_S & TIMER_MASK
        return count.to_bytes(4, "little")[offset : offset + size]

    def fill(self, offset: int, into: memoryview) -> Iterator[None]:
        """The same at each step, as a number: a clock is read again and again."""
        now_ns, shift = self._now_ns, 8 * offset
        divisor, mask = NS_PER_S << shift, TIMER_MASK >> shift & (1 << 8 * into.nbytes) - 1
        while True:
            into[0] = now_ns() * TIMER_HZ // divisor & mask
            yield

    def write(self, offset: int, data: bytes) -> None:
        """Nothing: the counter cannot be set."""


class PmRegisters:
    """Four bytes of event or control registers, which keep what is written; nothing sleeps."""

    def __init__(self) -> None:
        self._values = bytearray(REGISTER_PORTS)

    def read(self, offset: int, size: int) -> bytes:
        """The registers, from this byte on."""
        return bytes(self._values[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        """Keep what is written."""
        self._values[offset : offset + len(data)] = data
