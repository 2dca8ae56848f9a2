"""The PC's devices, each by itself: what a guest reads and writes there."""

from __future__ import annotations

from struct import unpack_from

import pytest

from kvmabi.errors import UsageError
from kvmabi.vmm.bus import Bus
from kvmabi.vmm.pc import PcConfig, acpi, fw_cfg, hpet, layout, pc_testdev, power
from kvmabi.vmm.pc.debug_exit import DebugExit, GuestExit
from kvmabi.vmm.pc.serial import DATA, LINE_CONTROL, LINE_STATUS, Serial16550
from kvmabi.vmm.testdev import PciTestdev


class NoKvm:
    def assign(self, bus, address, doorbell):
        raise AssertionError("no doorbell is wanted here")

    def deassign(self, registration) -> None:
        raise AssertionError("no doorbell is wanted here")


def test_what_is_sent_comes_out_and_the_transmitter_is_always_ready() -> None:
    sent: list[bytes] = []
    port = Serial16550(sent.append)
    for char in b"ok":
        assert port.read(LINE_STATUS, 1)[0] & 0x20
        port.write(DATA, bytes([char]))
    assert b"".join(sent) == b"ok"


def test_with_the_divisor_selected_nothing_is_sent() -> None:
    sent: list[bytes] = []
    port = Serial16550(sent.append)
    port.write(LINE_CONTROL, b"\x80")
    port.write(DATA, b"\x01")
    assert port.read(DATA, 1) == b"\x01"
    port.write(LINE_CONTROL, b"\x03")
    assert port.read(LINE_CONTROL, 1) == b"\x03"
    assert sent == []
    port.write(DATA, b"x")
    assert sent == [b"x"]


def test_what_is_fed_is_received_once() -> None:
    port = Serial16550([].append)
    assert not port.read(LINE_STATUS, 1)[0] & 1
    port.feed(b"ab")
    assert port.read(LINE_STATUS, 1)[0] & 1
    assert port.read(DATA, 1) + port.read(DATA, 1) == b"ab"
    assert not port.read(LINE_STATUS, 1)[0] & 1


def test_fw_cfg_items_are_read_byte_by_byte_and_end_in_zeroes() -> None:
    device = fw_cfg.FwCfg(fw_cfg.pc_items(64 << 20, 3))
    device.write(0, (0).to_bytes(2, "little"))
    assert b"".join(device.read(1, 1) for _ in range(6)) == b"QEMU\0\0"
    device.write(0, (5).to_bytes(2, "little"))
    assert device.read(1, 2) == b"\x03\0"
    device.write(0, (0x1234).to_bytes(2, "little"))
    assert device.read(1, 4) == bytes(4)


def test_the_timer_counts_at_its_frequency_in_24_bits() -> None:
    now = [0]
    timer = power.PmTimer(lambda: now[0])
    assert timer.read(0, 4) == bytes(4)
    now[0] = 1_000_000_000
    assert int.from_bytes(timer.read(0, 4), "little") == 3_579_545
    now[0] = 1_000_000_000 * (1 << 24) // 3_579_545 + 1000  # just past the turn
    assert int.from_bytes(timer.read(0, 4), "little") < 10


@pytest.mark.parametrize(("data", "status"), [(b"\0\0\0\0", 1), (b"\x01\0\0\0", 3), (b"\x4d", 155)])
def test_the_debug_exit_port_ends_the_machine(data: bytes, status: int) -> None:
    with pytest.raises(GuestExit) as caught:
        DebugExit().write(0, data)
    assert caught.value.status == status


def tables(cpus: int = 2) -> dict[bytes, tuple[int, bytes]]:
    return {one.data[:4]: (one.gpa, one.data) for one in acpi.acpi_tables(cpus)}


def test_every_table_sums_to_zero_says_its_length_and_is_where_it_is_pointed_to() -> None:
    found = tables()
    rsdp_at, rsdp = found.pop(b"RSD ")
    assert layout.BIOS_GPA <= rsdp_at < layout.HIGH_GPA
    assert rsdp_at % 16 == 0
    assert rsdp[:8] == b"RSD PTR "
    assert sum(rsdp[:20]) % 256 == 0
    assert unpack_from("<I", rsdp, 16)[0] == found[b"RSDT"][0]
    rsdt = found[b"RSDT"][1]
    assert {at for (at,) in [unpack_from("<I", rsdt, 36), unpack_from("<I", rsdt, 40)]} == {
        found[b"FACP"][0],
        found[b"APIC"][0],
    }
    for signature, (_, data) in found.items():
        assert unpack_from("<I", data, 4)[0] == len(data)
        if signature != b"FACS":  # the one that has no checksum
            assert sum(data) % 256 == 0


def test_the_fadt_names_the_timer_and_its_other_registers() -> None:
    found = tables()
    fadt = found[b"FACP"][1]
    assert len(fadt) == 116
    assert unpack_from("<I", fadt, 36)[0] == found[b"FACS"][0]
    assert unpack_from("<I", fadt, 40)[0] == found[b"DSDT"][0]
    assert unpack_from("<I", fadt, 56)[0] == layout.PM_EVENT_PORT
    assert unpack_from("<I", fadt, 64)[0] == layout.PM_CONTROL_PORT
    assert unpack_from("<I", fadt, 76)[0] == layout.PM_TIMER_PORT
    assert fadt[88:92] == bytes([4, 2, 0, 4])


@pytest.mark.parametrize("cpus", [1, 3])
def test_the_madt_has_a_local_apic_for_each_cpu(cpus: int) -> None:
    madt = tables(cpus)[b"APIC"][1]
    kinds, at = [], 44
    while at < len(madt):
        kinds.append(madt[at])
        at += madt[at + 1]
    assert at == len(madt)
    assert kinds == [0] * cpus + [1, 2]


def test_pc_testdev_keeps_flushes_and_raises() -> None:
    flushed: list[int] = []
    lines: list[tuple[int, bool]] = []
    mmio, pio = Bus("mmio"), Bus("pio")
    pc_testdev.attach_pc_testdev(
        mmio, pio, flushed.append, lambda line, level: lines.append((line, level))
    )
    pio.write(0xE0, b"\x11\x22\x33\x44")
    assert pio.read(0xE1, 2) == b"\x22\x33"
    pio.write(0xE4, (0x5000).to_bytes(4, "little"))
    assert flushed == [0x5000]
    pio.write(0x2003, b"\x01")
    pio.write(0x2003, b"\x00")
    assert lines == [(3, True), (3, False)]
    mmio.write(0xFF00_FFF8, b"12345678")
    assert mmio.read(0xFF00_FFFC, 4) == b"5678"
    assert not mmio.unclaimed
    assert not pio.unclaimed


def test_bar2_is_wide_and_sizes_in_two_registers() -> None:
    bus, pio = Bus("mmio"), Bus("pio")
    device = PciTestdev(bus, pio, NoKvm(), 1 << 33)
    device.set_bar(2, 0x80_0000_0000)
    assert device.read(0x18, 8) == (0x80_0000_0000 | 0xC).to_bytes(8, "little")
    device.write(0x18, b"\xff" * 4)
    device.write(0x1C, b"\xff" * 4)
    sizing = int.from_bytes(device.read(0x18, 8), "little") & ~0xF
    assert -sizing & (1 << 64) - 1 == 1 << 33
    device.set_bar(2, 0x80_0000_0000)
    device.decode()
    assert device.bars[2].base == 0x80_0000_0000
    assert bus.read(0x81_0000_0000, 8) == b"\xff" * 8
    assert not bus.unclaimed
    bus.read(0x82_0000_0000, 1)
    assert bus.unclaimed


@pytest.mark.parametrize("size", [1, 2048, 4097, 3 << 20, 1 << 41])
def test_a_bar2_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="power of two"):
        PciTestdev(Bus("mmio"), Bus("pio"), NoKvm(), size)


def test_the_hpet_counts_while_it_is_enabled_and_goes_on_where_it_stood() -> None:
    now = [1000]
    device = hpet.Hpet(lambda: now[0])

    def counter() -> int:
        return int.from_bytes(device.read(0xF0, 8), "little")

    assert device.read(4, 4) == (10_000_000).to_bytes(4, "little")  # femtoseconds
    assert counter() == 0
    device.write(0x10, b"\x01")
    now[0] += 500
    assert counter() == 50
    device.write(0x10, b"\x00")
    now[0] += 500
    assert counter() == 50
    device.write(0x10, b"\x01")
    now[0] += 100
    assert counter() == 60
    device.write(0xF0, (7).to_bytes(8, "little"))
    assert counter() == 7
    assert device.read(0x20, 8) == bytes(8)
    device.write(0, b"\xff" * 8)
    assert device.read(0, 1) == b"\x01"


@pytest.mark.parametrize("shift", range(12, 41))
def test_bar2_lies_above_all_memory_at_a_multiple_of_its_size(shift: int) -> None:
    size = 1 << shift
    base = layout.bar2_gpa(size)
    assert base % size == 0
    assert base >= layout.ABOVE_4_GIB + layout.MAX_RAM


def test_a_bar2_that_the_cpu_cannot_address_is_refused() -> None:
    config = PcConfig(membar_bytes=1 << 38)
    config.check(39)
    with pytest.raises(UsageError, match="38 bits"):
        config.check(38)
    PcConfig().check(36)
