"""PCI: configuration mechanism 1, configuration space, and BARs that the guest may move.

Source: PCI Local Bus Specification 3.0, 3.2.2.3.2 (mechanism 1) and chapter 6 (header, BARs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kvmabi.vmm.bus import Bus, Device
    from kvmabi.vmm.doorbell import Doorbell, Registrar, Registration

CONFIG_ADDRESS_PORT = 0xCF8
CONFIG_PORTS = 8
CONFIG_BYTES = 256

VENDOR_ID = 0x00
COMMAND = 0x04
REVISION_AND_CLASS = 0x08
HEADER_TYPE = 0x0E
BAR0 = 0x10
BARS = 6
SUBSYSTEM_ID = 0x2C

COMMAND_IO = 1 << 0
COMMAND_MEMORY = 1 << 1
COMMAND_MASTER = 1 << 2
BAR_IS_IO = 1
BAR_IS_64_BIT = 1 << 2
BAR_IS_PREFETCHABLE = 1 << 3


@dataclass(frozen=True, slots=True)
class Identity:
    """What a PCI function says it is; `pci_class` is class, subclass and interface: 24 bits."""

    vendor: int
    device: int
    pci_class: int


class Bar:
    """One BAR: a device's range of a bus, wherever the guest has put it, and its doorbells."""

    def __init__(
        self, bus: Bus, size: int, device: Device, registrar: Registrar, *, wide: bool = False
    ) -> None:
        self.wide = wide
        """Whether it is a 64-bit memory BAR, which takes two registers."""
        self.bus = bus
        self.size = size
        self.device = device
        self.base: int | None = None
        """Where it is decoded; None where the guest has switched that off."""
        self._registrar = registrar
        self._doorbells: dict[Doorbell, Registration | None] = {}
        self._counted: tuple[int, int, Iterator[object]] | None = None

    @property
    def is_io(self) -> bool:
        """Whether this is an I/O BAR."""
        return self.bus.name == "pio"

    @property
    def type_bits(self) -> int:
        """The low bits of its register, which say what it is."""
        wide = BAR_IS_64_BIT | BAR_IS_PREFETCHABLE if self.wide else 0
        return BAR_IS_IO if self.is_io else wide

    @property
    def registrations(self) -> list[Registration]:
        """The doorbells as KVM has them now, the refused ones among them."""
        return [made for made in self._doorbells.values() if made is not None]

    def place(self, base: int | None) -> None:
        """Decode at `base` from now on, or nowhere; the doorbells follow."""
        if base == self.base:
            return
        if self.base is not None:
            self._count(None)
            self.bus.detach(self.base, self.device)
            for doorbell in self._doorbells:
                self._deassign(doorbell)
        self.base = base
        if base is not None:
            self.bus.attach(base, self.size, self.device)
            if self._counted:
                self._count(self._counted[2])
            for doorbell in self._doorbells:
                self._assign(doorbell)

    def count_at(self, offset: int, size: int, hits: Iterator[object]) -> None:
        """Have `hits` stepped at writes of that size and offset; the device need not see them."""
        self.count_nowhere()
        self._counted = (offset, size, hits)
        self._count(hits)

    def count_nowhere(self) -> None:
        """End that; the device gets all writes again."""
        self._count(None)
        self._counted = None

    def _count(self, hits: Iterator[object] | None) -> None:
        if self._counted and self.base is not None:
            offset, size, _ = self._counted
            self.bus.count_hits(self.base + offset, size, hits)

    def ring_at(self, doorbell: Doorbell) -> None:
        """Have this doorbell registered while the BAR is decoded."""
        self._doorbells[doorbell] = None
        self._assign(doorbell)

    def drop(self, doorbell: Doorbell) -> None:
        """Take this doorbell away."""
        self._deassign(doorbell)
        del self._doorbells[doorbell]

    def _assign(self, doorbell: Doorbell) -> None:
        if self.base is not None:
            address = self.base + doorbell.offset
            self._doorbells[doorbell] = self._registrar.assign(self.bus.name, address, doorbell)

    def _deassign(self, doorbell: Doorbell) -> None:
        registration = self._doorbells[doorbell]
        self._doorbells[doorbell] = None
        if registration is not None:
            self._registrar.deassign(registration)


class PciFunction:
    """A function's configuration space (header type 0), with the BARs behind it."""

    def __init__(self, identity: Identity, bars: Sequence[Bar] = ()) -> None:
        self.bars = tuple(bars)
        self._config = bytearray(CONFIG_BYTES)
        self._writable = bytearray(CONFIG_BYTES)
        self._preset(VENDOR_ID, identity.vendor | identity.device << 16, 4)
        self._preset(REVISION_AND_CLASS, identity.pci_class << 8, 4)
        self._preset(SUBSYSTEM_ID, identity.vendor | identity.device << 16, 4)
        self._registers = tuple(_register_of(self.bars, bar) for bar in self.bars)
        commands = COMMAND_MASTER
        for (at, size), bar in zip(self._registers, self.bars, strict=True):
            commands |= COMMAND_IO if bar.is_io else COMMAND_MEMORY
            self._preset(at, bar.type_bits, size)
            self._allow(at, -bar.size & (1 << 8 * size) - 1, size)
        self._allow(COMMAND, commands, 2)

    def read(self, offset: int, size: int) -> bytes:
        """Configuration space at this offset; all ones past its end."""
        return bytes(self._config[offset : offset + size]).ljust(size, b"\xff")

    def write(self, offset: int, data: bytes) -> None:
        """Change the writable bits at this offset; BARs move, go and come with it."""
        for at, new in enumerate(data[: CONFIG_BYTES - offset], offset):
            keep = self._config[at] & ~self._writable[at]
            self._config[at] = keep | new & self._writable[at]
        self._place_bars()

    def set_bar(self, index: int, base: int) -> None:
        """Put a BAR somewhere, as firmware does before the guest starts."""
        at, size = self._registers[index]
        self.write(at, (base | self.bars[index].type_bits).to_bytes(size, "little"))

    def decode(self) -> None:
        """Switch all BARs on, as firmware does before the guest starts."""
        allowed = self._writable[COMMAND] & (COMMAND_IO | COMMAND_MEMORY)
        self.write(COMMAND, bytes([self._config[COMMAND] | allowed]))

    def _place_bars(self) -> None:
        command = int.from_bytes(self._config[COMMAND : COMMAND + 2], "little")
        for (at, size), bar in zip(self._registers, self.bars, strict=True):
            base = int.from_bytes(self._config[at : at + size], "little") & -bar.size
            enabled = command & (COMMAND_IO if bar.is_io else COMMAND_MEMORY)
            bar.place(base if enabled else None)

    def _preset(self, offset: int, value: int, size: int) -> None:
        self._config[offset : offset + size] = value.to_bytes(size, "little")

    def _allow(self, offset: int, mask: int, size: int) -> None:
        self._writable[offset : offset + size] = mask.to_bytes(size, "little")


def _register_of(bars: Sequence[Bar], bar: Bar) -> tuple[int, int]:
    """Offset and size in bytes of a BAR's register: each stands behind those before it."""
    before = bars[: bars.index(bar)]
    return BAR0 + sum(8 if one.wide else 4 for one in before), 8 if bar.wide else 4


HOST_BRIDGE = Identity(0x8086, 0x1237, 0x060000)
"""Intel's 440FX, as guests of this age of PC expect at 00:00.0."""


class PciHost:
    """Mechanism 1 on ports 0xCF8 to 0xCFF, and the functions of bus 0 by device << 3 | function.

    The address register takes and gives 32 bits only. The low two bits of the address and of the
    port both count: some guests put them here, and some there.
    """

    def __init__(self) -> None:
        self.functions: dict[int, PciFunction] = {0: PciFunction(HOST_BRIDGE)}
        self._address = 0

    def read(self, offset: int, size: int) -> bytes:
        """A port read at 0xCF8 + `offset`; all ones from what is not there."""
        if offset == 0 and size == 4:
            return self._address.to_bytes(4, "little")
        function = self._addressed(offset, size)
        if function is None:
            return b"\xff" * size
        return function.read(self._register(offset), size)

    def write(self, offset: int, data: bytes) -> None:
        """A port write at 0xCF8 + `offset`."""
        if offset == 0 and len(data) == 4:
            self._address = int.from_bytes(data, "little")
            return
        function = self._addressed(offset, len(data))
        if function is not None:
            function.write(self._register(offset), data)

    def _addressed(self, offset: int, size: int) -> PciFunction | None:
        enabled = self._address >> 31
        if offset < 4 or not enabled or size > 4:
            return None
        return self.functions.get(self._address >> 8 & 0xFFFF)

    def _register(self, offset: int) -> int:
        return self._address & 0xFF | offset & 3
