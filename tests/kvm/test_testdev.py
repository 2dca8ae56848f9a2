"""pci-testdev as a guest drives it: every step here is an access by the guest, on the real KVM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmabi import uapi
from kvmabi.kvm import System
from kvmabi.vmm import Access, ExerciserMachine, layout

pytestmark = pytest.mark.kvm

MMIO, PIO = "mmio", "pio"
CONFIG = 0x8000_0000 | layout.TESTDEV_BDF << 8
ELSEWHERE = 0xD000_0000
PORT_ELSEWHERE = 0xD100


class Driver:
    """What a guest's driver does, one access at a time."""

    def __init__(self, machine: ExerciserMachine) -> None:
        self.machine = machine

    def write(self, bus: str, address: int, value: int, width: int) -> int:
        """How many times the write exited."""
        return len(self.machine.perform([Access(bus, address, width, True, value)]).exits)

    def read(self, bus: str, address: int, width: int) -> int:
        return self.machine.perform([Access(bus, address, width, False)]).outcomes[0].value

    def config(self, register: int, width: int = 4) -> int:
        self.write(PIO, 0xCF8, CONFIG | register & ~3, 4)
        return self.read(PIO, 0xCFC + register % 4, width)

    def configure(self, register: int, value: int, width: int = 4) -> None:
        self.write(PIO, 0xCF8, CONFIG | register, 4)
        self.write(PIO, 0xCFC, value, width)

    def start(self, bus: str, base: int, number: int) -> Test:
        self.write(bus, base, number, 1)
        header = bytes(self.read(bus, base + at, 1) for at in range(48))
        return Test(self, bus, base, header)


class Test:
    """A running test, as its header describes it."""

    __test__ = False

    def __init__(self, driver: Driver, bus: str, base: int, header: bytes) -> None:
        self.driver = driver
        self.bus = bus
        self.base = base
        self.width = header[1]
        self.offset = int.from_bytes(header[4:8], "little")
        self.data = int.from_bytes(header[8:12], "little")
        self.name = header[16:].split(b"\0")[0].decode()

    def write(self, data: int | None = None) -> int:
        """How many exits a write of the test's data, or of other data, makes."""
        value = self.data if data is None else data
        return self.driver.write(self.bus, self.base + self.offset, value, self.width)

    @property
    def count(self) -> int:
        return self.driver.read(self.bus, self.base + 12, 4)


@pytest.fixture
def driver() -> Iterator[Driver]:
    with System.open() as system, ExerciserMachine(system) as machine:
        yield Driver(machine)


@pytest.fixture(params=[MMIO, PIO])
def bar(request: pytest.FixtureRequest) -> tuple[str, int]:
    return request.param, layout.BAR0_GPA if request.param == MMIO else layout.BAR1_PORT


NAMES = ("no-eventfd", "wildcard-eventfd", "datamatch-eventfd", "pv-eventfd")


def test_the_guest_has_found_sized_and_enabled_it(driver: Driver) -> None:
    assert driver.config(0x00) == 0x0005_1B36
    assert driver.config(0x10) == layout.BAR0_GPA
    assert driver.config(0x14) == layout.BAR1_PORT | 1
    assert driver.config(0x04, 2) & 3 == 3


@pytest.mark.parametrize("number", range(4))
def test_every_test_counts_each_write_once(driver: Driver, bar, number: int) -> None:
    running = driver.start(*bar, number)
    assert running.name.split("-", 1)[1] == NAMES[number]
    exits = sum(running.write() for _ in range(5))
    assert exits == (5 if number == 0 else 0)  # those with an eventfd do not leave the kernel
    assert running.count == 5


def test_a_write_of_another_value(driver: Driver, bar) -> None:
    """The wildcard takes it in the kernel; the datamatch lets it through, and it does not count."""
    wildcard = driver.start(*bar, 1)
    assert (wildcard.write(0x55), wildcard.count) == (0, 1)
    datamatch = driver.start(*bar, 2)
    assert (datamatch.write(0x55), datamatch.count) == (1, 0)
    assert (datamatch.write(), datamatch.count) == (0, 1)


def test_the_next_test_ends_the_one_before(driver: Driver, bar) -> None:
    before = driver.start(*bar, 1)
    driver.start(*bar, 0)
    assert before.write() == 1
    driver.start(*bar, 1)
    assert driver.start(*bar, 9).width == 0
    assert before.write() == 1


def test_the_pv_test_says_how_it_is_registered(driver: Driver) -> None:
    memory, io = driver.machine.testdev.memory, driver.machine.testdev.io
    driver.start(MMIO, layout.BAR0_GPA, 3)
    driver.start(PIO, layout.BAR1_PORT, 3)
    pv = {"pv-mmio": (1, uapi.KVM_IOEVENTFD_FLAG_PV_MMIO), "any-length": (0, 0), "plain": (1, 0)}
    [on_mmio] = memory.bar.registrations
    assert (on_mmio.length, on_mmio.flags) == pv[on_mmio.how]
    [on_pio] = io.bar.registrations
    assert on_pio.how in ("any-length", "plain")  # PV_MMIO is refused on pio
    assert on_mmio.error == on_pio.error == 0


def test_a_moved_memory_bar_takes_its_test_along(driver: Driver) -> None:
    running = driver.start(MMIO, layout.BAR0_GPA, 1)
    driver.configure(0x10, ELSEWHERE)
    assert driver.machine.bar0_gpa == ELSEWHERE
    assert running.write() == 1  # nobody there any more
    running.base = ELSEWHERE
    assert running.write() == 0
    assert running.count == 1


def test_a_moved_io_bar_takes_its_test_along(driver: Driver) -> None:
    running = driver.start(PIO, layout.BAR1_PORT, 2)
    driver.configure(0x14, PORT_ELSEWHERE)
    assert driver.machine.bar1_port == PORT_ELSEWHERE
    assert running.write() == 1
    running.base = PORT_ELSEWHERE
    assert (running.write(), running.count) == (0, 1)


def test_a_bar_that_is_switched_off_and_on(driver: Driver, bar) -> None:
    running = driver.start(*bar, 1)
    driver.configure(0x04, 0, 2)
    assert running.write() == 1
    assert driver.read(*bar, 1) == 0xFF
    driver.configure(0x04, 3, 2)
    assert running.write() == 0
    assert running.count == 1


def test_sizing_while_decoding_leaves_everything_as_it_was(driver: Driver, bar) -> None:
    running = driver.start(*bar, 1)
    register = 0x10 if running.bus == MMIO else 0x14
    before = driver.config(register)
    driver.configure(register, 0xFFFF_FFFF)
    driver.configure(register, before)
    assert (running.write(), running.count) == (0, 1)
