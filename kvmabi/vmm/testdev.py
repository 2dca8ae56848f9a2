"""pci-testdev: the device that the series of 2013 measured, as its guests know it.

BAR0 (memory) and BAR1 (I/O) each hold a header, and tests that the guest starts by number. A test
tells the guest where to write what, and counts the writes that reach the device: by an exit to
`write`, or by an ioeventfd.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from operator import length_hint
from struct import Struct
from typing import TYPE_CHECKING

from kvmabi.errors import UsageError
from kvmabi.vmm.doorbell import Doorbell, Registrar
from kvmabi.vmm.pci import Bar, Identity, PciFunction

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvmabi.vmm.bus import Bus
    from kvmabi.vmm.doorbell import Registration

IDENTITY = Identity(0x1B36, 0x0005, 0xFF0000)
BAR0_BYTES = 4096
BAR1_BYTES = 256
LEAST_MEMBAR_BYTES = 4096
MOST_MEMBAR_BYTES = 1 << 40
MEMORY_TESTS_AT = 2048
IO_TESTS_AT = 128

DATAMATCH = 0xFA
WILDCARD_DATA = 0xCE
TEST_WIDTH = 1

HEADER = Struct("<BBxxIII")
"""test, width, offset, data, count; the name follows."""
NO_TEST = bytes(HEADER.size)
MOST_HITS = 1 << 62


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of test: what it is called, what the guest writes, and how KVM is asked to see it."""

    name: str
    data: int
    eventfd: bool = True
    datamatch: bool = False
    pv: bool = False


KINDS = (
    Kind("no-eventfd", DATAMATCH, eventfd=False),
    Kind("wildcard-eventfd", WILDCARD_DATA),
    Kind("datamatch-eventfd", DATAMATCH, datamatch=True),
    Kind("pv-eventfd", WILDCARD_DATA, pv=True),
)
"""The tests of each BAR, by number; the fourth is the one that the series was written for."""


class Hits:
    """A counter; each step of `steps` counts one, and makes no object: for the hot path."""

    def __init__(self) -> None:
        self.steps = repeat(None, MOST_HITS)

    @property
    def count(self) -> int:
        """How many steps were taken."""
        return MOST_HITS - length_hint(self.steps)


class TestBar:
    """The device behind one BAR: the header, and the test that runs."""

    __test__ = False  # no class of tests, whatever its name says to pytest

    def __init__(self, prefix: str, tests_at: int, bus: Bus, size: int, reg: Registrar) -> None:
        self.prefix = prefix
        self.bar = Bar(bus, size, self, reg)
        self._tests_at = tests_at
        self._number = 0
        self._kind: Kind | None = None
        self._signals = 0
        self._hits = Hits()
        self._doorbell: Doorbell | None = None
        self.started: Callable[[str, list[Registration]], object] | None = None
        """Told of each test that starts with an eventfd: its name, and what KVM was asked."""
        self.ended: Callable[[str, int, int], object] | None = None
        """Told of each test that ends: its name, its `exits` and its `signals`."""

    @property
    def running(self) -> str:
        """The name of the test that runs; empty where none does."""
        return f"{self.prefix}-{self._kind.name}" if self._kind else ""

    @property
    def count(self) -> int:
        """The writes that have reached the device since the test started, either way."""
        return self.signals + self.exits

    @property
    def exits(self) -> int:
        """Those that have come by an exit."""
        return self._hits.count

    @property
    def signals(self) -> int:
        """Those that KVM has added to the eventfd."""
        if self._doorbell:
            with suppress(BlockingIOError):
                self._signals += os.eventfd_read(self._doorbell.fd)
        return self._signals

    def read(self, offset: int, size: int) -> bytes:
        """The header's bytes, and zeroes behind it and where no test runs."""
        return self._header()[offset : offset + size].ljust(size, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        """Start a test, or count a write of the one that runs; else nothing."""
        if offset == 0:
            self.stop()
            self.start(data[0])
        elif self._kind and self._is_hit(self._kind, offset, data):
            next(self._hits.steps)

    def start(self, number: int) -> None:
        """Run this test from now on; none where there is no such number."""
        if number >= len(KINDS):
            return
        self._number, self._kind = number, KINDS[number]
        self._signals, self._hits = 0, Hits()
        if not self._kind.eventfd:
            self.bar.count_at(self._offset, TEST_WIDTH, self._hits.steps)
        else:
            self._doorbell = Doorbell(
                self._offset,
                TEST_WIDTH,
                os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
                DATAMATCH if self._kind.datamatch else None,
                self._kind.pv,
            )
            self.bar.ring_at(self._doorbell)
            if self.started:
                self.started(self.running, self.bar.registrations)

    def stop(self) -> None:
        """Run no test from now on; its ioeventfd goes."""
        if self._kind and self.ended:
            self.ended(self.running, self.exits, self.signals)
        self._kind = None
        self.bar.count_nowhere()
        doorbell, self._doorbell = self._doorbell, None
        if doorbell:
            self.bar.drop(doorbell)
            os.close(doorbell.fd)

    def _is_hit(self, kind: Kind, offset: int, data: bytes) -> bool:
        if offset != self._offset or len(data) != TEST_WIDTH:
            return False
        return not kind.datamatch or data[0] == DATAMATCH

    @property
    def _offset(self) -> int:
        return self._tests_at + self._number

    def _header(self) -> bytes:
        if self._kind is None:
            return NO_TEST
        count = self.count & 0xFFFF_FFFF
        fields = HEADER.pack(self._number, TEST_WIDTH, self._offset, self._kind.data, count)
        return fields + self.running.encode() + b"\0"


class Unbacked:
    """Memory that is not there: a BAR of it decodes, and holds nothing."""

    def read(self, offset: int, size: int) -> bytes:
        """All ones."""
        return b"\xff" * size

    def write(self, offset: int, data: bytes) -> None:
        """Nothing happens."""


class PciTestdev(PciFunction):
    """pci-testdev with its BARs: `memory`, `io`, and where `membar` is a size in bytes, `membar`.

    `membar` is a power of two: BAR2, a 64-bit memory BAR without backing.
    """

    def __init__(self, mmio: Bus, pio: Bus, registrar: Registrar, membar: int = 0) -> None:
        self.memory = TestBar("mmio", MEMORY_TESTS_AT, mmio, BAR0_BYTES, registrar)
        self.io = TestBar("portio", IO_TESTS_AT, pio, BAR1_BYTES, registrar)
        bars = [self.memory.bar, self.io.bar]
        if membar:
            fits = LEAST_MEMBAR_BYTES <= membar <= MOST_MEMBAR_BYTES
            if not fits or membar & (membar - 1):
                raise UsageError(
                    f"a BAR of {membar:#x} bytes: it must be a power of two from "
                    f"{LEAST_MEMBAR_BYTES:#x} to {MOST_MEMBAR_BYTES:#x}"
                )
            bars.append(Bar(mmio, membar, Unbacked(), registrar, wide=True))
        super().__init__(IDENTITY, bars)

    def close(self) -> None:
        """Stop what runs, and close its eventfds."""
        self.memory.stop()
        self.io.stop()
