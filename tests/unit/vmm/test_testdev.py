"""PCI configuration and pci-testdev, as a guest's accesses see them; KVM's part is played here."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from kvmabi.vmm.bus import Bus
from kvmabi.vmm.doorbell import Doorbell, Registration
from kvmabi.vmm.pci import CONFIG_ADDRESS_PORT, CONFIG_PORTS, PciHost
from kvmabi.vmm.testdev import PciTestdev

ENABLE = 1 << 31
TESTDEV = 0x0008
MEMORY_AT = 0xE000_0000
PORT_AT = 0xC000


class Registrar:
    """Stands for KVM: remembers what is registered, and can refuse."""

    def __init__(self) -> None:
        self.live: list[tuple[str, int, Doorbell]] = []
        self.error = 0

    def assign(self, bus: str, address: int, doorbell: Doorbell) -> Registration:
        flags = 2 if bus == "pio" else 0
        if not self.error:
            self.live.append((bus, address, doorbell))
        return Registration(doorbell, address, doorbell.width, flags, "plain", self.error)

    def deassign(self, registration: Registration) -> None:
        if not registration.error:
            bus = "pio" if registration.flags else "mmio"
            self.live.remove((bus, registration.address, registration.doorbell))


class Pc:
    """The two buses with a PCI host and the test device, BARs enabled where asked."""

    def __init__(self, command: int = 3) -> None:
        self.registrar = Registrar()
        self.mmio, self.pio = Bus("mmio"), Bus("pio")
        self.testdev = PciTestdev(self.mmio, self.pio, self.registrar)
        host = PciHost()
        host.functions[TESTDEV] = self.testdev
        self.pio.attach(CONFIG_ADDRESS_PORT, CONFIG_PORTS, host)
        self.set(0x10, MEMORY_AT)
        self.set(0x14, PORT_AT)
        self.set(0x04, command, 2)

    def select(self, register: int, bdf: int = TESTDEV) -> None:
        self.pio.write(0xCF8, (ENABLE | bdf << 8 | register).to_bytes(4, "little"))

    def get(self, register: int, size: int = 4, bdf: int = TESTDEV) -> int:
        self.select(register & ~3, bdf)
        return int.from_bytes(self.pio.read(0xCFC + register % 4, size), "little")

    def set(self, register: int, value: int, size: int = 4) -> None:
        self.select(register & ~3)
        self.pio.write(0xCFC + register % 4, value.to_bytes(size, "little"))

    def start(self, number: int) -> None:
        self.mmio.write(MEMORY_AT, bytes([number]))

    def header(self, size: int = 64) -> bytes:
        return b"".join(self.mmio.read(MEMORY_AT + at, 1) for at in range(size))

    def close(self) -> None:
        self.testdev.close()


@pytest.fixture
def pc():
    with closing(Pc()) as made:
        yield made


def word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def test_the_host_bridge_and_the_device_are_there(pc) -> None:
    assert pc.get(0, bdf=0) == 0x1237_8086
    assert pc.get(8, bdf=0) >> 16 == 0x0600
    assert pc.get(0) == 0x0005_1B36
    assert pc.get(8) >> 24 == 0xFF
    assert pc.get(0x3D, 1) == 0  # no interrupt pin
    assert pc.get(0x0E, 1) == 0  # a single function of header type 0


@pytest.mark.parametrize("bdf", [0x0001, 0x0009, 0x0010, 0x00F8, 0x0100, 0xFFFF])
def test_other_functions_read_as_all_ones(pc, bdf: int) -> None:
    assert pc.get(0, bdf=bdf) == 0xFFFF_FFFF


def test_without_the_enable_bit_nothing_is_selected(pc) -> None:
    pc.pio.write(0xCF8, (TESTDEV << 8).to_bytes(4, "little"))
    assert pc.pio.read(0xCFC, 4) == b"\xff" * 4


def test_the_address_register_takes_and_gives_32_bits_only(pc) -> None:
    pc.select(0x10)
    address = pc.pio.read(0xCF8, 4)
    assert address == (ENABLE | TESTDEV << 8 | 0x10).to_bytes(4, "little")
    pc.pio.write(0xCF8, b"\0")
    pc.pio.write(0xCF9, b"\x06")
    pc.pio.write(0xCF8, b"\0\0")
    assert pc.pio.read(0xCF8, 4) == address
    assert pc.pio.read(0xCF8, 1) == b"\xff"
    assert pc.pio.read(0xCF8, 2) == b"\xff\xff"


@pytest.mark.parametrize("in_address", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_low_address_bits_count_in_the_address_and_in_the_port(pc, in_address, size) -> None:
    pc.select(0)
    space = pc.pio.read(0xCFC, 4) + bytes(4)
    pc.select(in_address)
    if in_address % size == 0:
        assert pc.pio.read(0xCFC, size) == space[in_address : in_address + size]
        pc.select(0)
        assert pc.pio.read(0xCFC + in_address, size) == space[in_address : in_address + size]


def test_reads_past_the_end_of_configuration_space(pc) -> None:
    pc.select(0xFF)
    assert pc.pio.read(0xCFC, 4) == b"\0\xff\xff\xff"
    pc.pio.write(0xCFC, b"\x11\x22\x33\x44")
    assert pc.pio.read(0xCFC, 1) == b"\0"


def test_bars_tell_their_size_and_keep_their_kind(pc) -> None:
    for register, ones in ((0x10, 0xFFFF_F000), (0x14, 0xFFFF_FF01)):
        before = pc.get(register)
        pc.set(register, 0xFFFF_FFFF)
        assert pc.get(register) == ones
        pc.set(register, before)
        assert pc.get(register) == before
    pc.set(0x18, 0xFFFF_FFFF)
    assert pc.get(0x18) == 0  # there is no BAR2


def test_the_identity_cannot_be_written(pc) -> None:
    for register in (0x00, 0x08, 0x2C):
        before = pc.get(register)
        pc.set(register, ~before & 0xFFFF_FFFF)
        assert pc.get(register) == before


def test_only_what_the_command_register_enables_is_decoded() -> None:
    for command in range(4):
        pc = Pc(command)
        assert (pc.mmio.read(MEMORY_AT, 1) == b"\0") == bool(command & 2)
        assert (pc.pio.read(PORT_AT, 1) == b"\0") == bool(command & 1)
        assert pc.get(4, 2) == command


def test_a_moved_bar_answers_at_its_new_place_only(pc) -> None:
    pc.set(0x10, 0xD000_0000)
    assert pc.mmio.read(MEMORY_AT, 1) == b"\xff"
    assert pc.mmio.read(0xD000_0000, 1) == b"\0"
    pc.set(0x12, 0xE000, 2)  # half of it, as a guest may
    assert pc.mmio.read(MEMORY_AT, 1) == b"\0"


EXPECTED = [
    # number, name, data, (datamatch, pv) of the eventfd
    (0, b"mmio-no-eventfd", 0xFA, None),
    (1, b"mmio-wildcard-eventfd", 0xCE, (None, False)),
    (2, b"mmio-datamatch-eventfd", 0xFA, (0xFA, False)),
    (3, b"mmio-pv-eventfd", 0xCE, (None, True)),
]


@pytest.mark.parametrize(("number", "name", "data", "doorbell"), EXPECTED)
def test_the_memory_tests(pc, number: int, name: bytes, data: int, doorbell) -> None:
    pc.start(number)
    header = pc.header()
    assert (header[0], header[1]) == (number, 1)
    assert (word(header, 4), word(header, 8), word(header, 12)) == (2048 + number, data, 0)
    assert header[16:].split(b"\0")[0] == name
    live = [
        (bus, address, bell.width, bell.datamatch, bell.pv)
        for bus, address, bell in pc.registrar.live
    ]
    wanted = [("mmio", MEMORY_AT + 2048 + number, 1, *doorbell)] if doorbell else []
    assert live == wanted


@pytest.mark.parametrize(("number", "name", "data", "doorbell"), EXPECTED)
def test_the_io_tests(pc, number: int, name: bytes, data: int, doorbell) -> None:
    pc.pio.write(PORT_AT, bytes([number]))
    header = b"".join(pc.pio.read(PORT_AT + at, 1) for at in range(64))
    assert (header[1], word(header, 4), word(header, 8)) == (1, 128 + number, data)
    assert header[16:].split(b"\0")[0] == name.replace(b"mmio", b"portio")
    live = [(bus, address, bell.datamatch, bell.pv) for bus, address, bell in pc.registrar.live]
    assert live == ([("pio", PORT_AT + 128 + number, *doorbell)] if doorbell else [])


@pytest.mark.parametrize("number", [4, 5, 0x7F, 0xFF])
def test_an_unknown_test_runs_nothing(pc, number: int) -> None:
    pc.start(1)
    pc.start(number)
    assert pc.header() == bytes(64)
    assert pc.registrar.live == []
    pc.mmio.write(MEMORY_AT + 2049, b"\xce")
    assert pc.testdev.memory.count == 0


def test_before_any_test_the_header_is_empty(pc) -> None:
    assert pc.header() == bytes(64)
    assert pc.testdev.memory.running == ""


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_header_reads_of_any_width_agree(pc, size: int) -> None:
    pc.start(0)
    wide = b"".join(pc.mmio.read(MEMORY_AT + at, size) for at in range(0, 64, size))
    assert wide == pc.header()


def test_writes_that_exit_are_counted(pc) -> None:
    pc.start(0)
    for _ in range(3):
        pc.mmio.write(MEMORY_AT + 2048, b"\xfa")
    assert word(pc.header(), 12) == 3
    pc.start(0)
    assert word(pc.header(), 12) == 0


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (2047, b"\xfa"),
        (2049, b"\xfa"),
        (2048, b"\xfa\0"),
        (2047, b"\xfa\xfa"),
        (4, b"\xfa"),
        (4095, b"\0"),
    ],
)
def test_other_writes_are_not_counted(pc, offset: int, data: bytes) -> None:
    pc.start(0)
    pc.mmio.write(MEMORY_AT + offset, data)
    assert word(pc.header(), 12) == 0
    assert pc.testdev.memory.running == "mmio-no-eventfd"


def test_signals_are_counted_with_the_exits(pc) -> None:
    pc.start(1)
    os.eventfd_write(pc.registrar.live[0][2].fd, 5)
    pc.mmio.write(MEMORY_AT + 2049, b"\xce")
    assert word(pc.header(), 12) == 6
    assert pc.testdev.memory.count == 6  # and stays


def test_a_write_of_another_value_is_no_datamatch(pc) -> None:
    pc.start(2)
    pc.mmio.write(MEMORY_AT + 2050, b"\xce")
    assert pc.testdev.memory.count == 0
    pc.mmio.write(MEMORY_AT + 2050, b"\xfa")
    assert pc.testdev.memory.count == 1


def test_the_two_bars_run_tests_of_their_own(pc) -> None:
    pc.start(1)
    pc.pio.write(PORT_AT, b"\x02")
    assert (pc.testdev.memory.running, pc.testdev.io.running) == (
        "mmio-wildcard-eventfd",
        "portio-datamatch-eventfd",
    )
    assert len(pc.registrar.live) == 2


def test_registrations_follow_the_bar(pc) -> None:
    pc.start(2)
    pc.set(0x10, 0xD000_0000)
    assert [at for _, at, _ in pc.registrar.live] == [0xD000_0000 + 2050]
    pc.set(0x04, 1, 2)  # memory off
    assert pc.registrar.live == []
    pc.set(0x10, MEMORY_AT)
    assert pc.registrar.live == []
    pc.set(0x04, 3, 2)
    assert [at for _, at, _ in pc.registrar.live] == [MEMORY_AT + 2050]
    pc.start(0)
    assert pc.registrar.live == []


def test_the_eventfd_goes_with_its_test(pc) -> None:
    pc.start(1)
    fd = pc.registrar.live[0][2].fd
    pc.testdev.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert pc.registrar.live == []


def test_a_refused_registration_is_recorded_and_not_fatal(pc) -> None:
    pc.registrar.error = 17
    pc.start(1)
    assert [one.error for one in pc.testdev.memory.bar.registrations] == [17]
    pc.mmio.write(MEMORY_AT + 2049, b"\xce")
    assert word(pc.header(), 12) == 1
    pc.set(0x10, 0xD000_0000)
    pc.testdev.close()
