"""The bus: who answers, and what happens where nobody does."""

from __future__ import annotations

import pytest

from kvmabi.errors import GuestError
from kvmabi.vmm.bus import UNCLAIMED_KEPT, Bus, Unclaimed
from kvmabi.vmm.memory import PAGE_BYTES, Ram


class Probe:
    def __init__(self, fill: int = 0) -> None:
        self.fill = fill
        self.seen: list[tuple[int, bytes]] = []

    def read(self, offset: int, size: int) -> bytes:
        self.seen.append((offset, b""))
        return bytes([self.fill]) * size

    def write(self, offset: int, data: bytes) -> None:
        self.seen.append((offset, data))


def test_a_device_sees_offsets_not_addresses() -> None:
    bus, probe = Bus("mmio"), Probe(7)
    bus.attach(0x1000, 0x100, probe)
    bus.write(0x1004, b"ab")
    assert bus.read(0x10FF, 1) == b"\x07"
    assert probe.seen == [(4, b"ab"), (0xFF, b"")]
    assert not bus.unclaimed


@pytest.mark.parametrize(
    ("address", "size"), [(0xFFF, 1), (0xFFE, 4), (0x1100, 1), (0x10FE, 4), (1 << 63, 8)]
)
def test_what_is_not_wholly_inside_is_nobodys(address: int, size: int) -> None:
    bus, probe = Bus("mmio"), Probe()
    bus.attach(0x1000, 0x100, probe)
    assert bus.read(address, size) == b"\xff" * size
    bus.write(address, bytes(size))
    assert probe.seen == []
    assert list(bus.unclaimed) == [Unclaimed(address, size, False), Unclaimed(address, size, True)]


def test_unclaimed_accesses_do_not_pile_up() -> None:
    bus = Bus("pio")
    for port in range(3 * UNCLAIMED_KEPT):
        bus.read(port, 1)
    assert len(bus.unclaimed) == UNCLAIMED_KEPT
    assert bus.unclaimed[-1].address == 3 * UNCLAIMED_KEPT - 1


def test_a_detached_device_is_silent_and_the_one_below_answers() -> None:
    bus, top, below = Bus("mmio"), Probe(1), Probe(2)
    bus.attach(0, 16, top)
    bus.attach(0, 32, below)
    assert bus.read(0, 1) == b"\x01"
    bus.detach(0, top)
    assert bus.read(0, 1) == b"\x02"
    bus.detach(8, below)  # not its start: nothing happens
    assert bus.read(0, 1) == b"\x02"


def test_ram_reads_what_was_written() -> None:
    ram = Ram(0x10_0000, 2 * PAGE_BYTES)
    ram.write(0x10_0FFF, b"xy")
    assert ram.read(0x10_0FFF, 2) == b"xy"
    assert ram.read(0x10_1FFF, 1) == b"\0"
    with ram.part(0x10_1000, 1) as part:
        part[0] = 0x7A
    assert ram.read(0x10_0FFF, 2) == b"xz"
    ram.close()


@pytest.mark.parametrize(
    ("gpa", "size"),
    [(0xF_FFFF, 1), (0x10_1FFF, 2), (0, 1), (0x10_2000, 1), (1 << 64, 1), (-1, 1), (0x10_0000, -1)],
)
def test_addresses_outside_ram_are_refused(gpa: int, size: int) -> None:
    ram = Ram(0x10_0000, 2 * PAGE_BYTES)
    with pytest.raises(GuestError, match="not in RAM"):
        ram.read(gpa, size)
    ram.close()


@pytest.mark.parametrize(("gpa", "size"), [(1, 4096), (0, 1), (0, 0), (0, -4096)])
def test_ram_is_whole_pages(gpa: int, size: int) -> None:
    with pytest.raises(ValueError, match="whole pages"):
        Ram(gpa, size)
