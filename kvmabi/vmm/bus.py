"""An address space of the guest, and the devices in it, which know offsets only."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

UNCLAIMED_KEPT = 64


class Device(Protocol):
    """What answers a range of a bus; every access that it gets lies wholly in the range."""

    def read(self, offset: int, size: int) -> bytes:
        """The `size` bytes at this offset, little endian."""

    def write(self, offset: int, data: bytes) -> None:
        """Take a write of `len(data)` bytes, little endian."""


class Clock(Device, Protocol):
    """A device whose reads change nothing and need no lock, so that they can be answered faster."""

    def fill(self, offset: int, into: memoryview) -> Iterator[object]:
        """At each step, puts what a `read` gives into `into`, one number of as many bytes."""


class Unclaimed(NamedTuple):
    """An access that no device answered."""

    address: int
    size: int
    write: bool


class _Range(NamedTuple):
    start: int
    end: int
    device: Device


class Route(NamedTuple):
    """What answers one kind of access, found once: a device's methods and the offset to give."""

    read: Callable[[int, int], bytes]
    write: Callable[[int, bytes], None]
    offset: int
    fill: Callable[[int, memoryview], Iterator[object]] | None = None
    """The device's `fill`, where it is a `Clock`."""


class Bus:
    """A space of addresses ("mmio" or "pio") with devices at ranges of it.

    Reads of what nobody claims give all ones; such accesses are kept in `unclaimed`, the latest
    ones of them. An access that only partly lies in a device's range is nobody's. `lock` keeps
    devices from being used by two vCPUs at once: the buses of one machine share it.
    """

    def __init__(self, name: str, lock: threading.RLock | None = None) -> None:
        self.name = name
        self.unclaimed: deque[Unclaimed] = deque(maxlen=UNCLAIMED_KEPT)
        self.lock = lock or threading.RLock()
        self._ranges: tuple[_Range, ...] = ()
        self.hits: dict[tuple[int, int], Iterator[object]] = {}
        """Writes, by address and size, that a device only counts, whatever is written: what to
        take one step of instead of a `write`, without the lock."""
        self.on_change: list[Callable[[], object]] = []
        """Called, under the lock, when other devices answer than before, or other hits."""

    def attach(self, start: int, size: int, device: Device) -> None:
        """Let the device answer `size` addresses from `start`; where ranges overlap, the first."""
        with self.lock:
            self._ranges += (_Range(start, start + size, device),)
            self._changed()

    def detach(self, start: int, device: Device) -> None:
        """Take the device's range at `start` away."""
        with self.lock:
            self._ranges = tuple(
                at for at in self._ranges if at.start != start or at.device is not device
            )
            self._changed()

    def count_hits(self, address: int, size: int, hits: Iterator[object] | None) -> None:
        """Have `hits` stepped at each write of `size` bytes at exactly `address`; None ends it."""
        with self.lock:
            if hits is None:
                self.hits.pop((address, size), None)
            else:
                self.hits[address, size] = hits
            self._changed()

    def _changed(self) -> None:
        for call in self.on_change:
            call()

    def find_route(self, address: int, size: int) -> Route:
        """What answers an access of `size` bytes there: a device, or the bus itself for nobody."""
        for start, end, device in self._ranges:
            if start <= address and address + size <= end:
                fill = getattr(device, "fill", None)
                return Route(device.read, device.write, address - start, fill)
        return Route(self.read, self.write, address)

    def read(self, address: int, size: int) -> bytes:
        """What the guest reads there."""
        for start, end, device in self._ranges:
            if start <= address and address + size <= end:
                with self.lock:
                    return device.read(address - start, size)
        self.unclaimed.append(Unclaimed(address, size, False))
        return b"\xff" * size

    def write(self, address: int, data: bytes) -> None:
        """Carry the guest's write to its device, if there is one."""
        for start, end, device in self._ranges:
            if start <= address and address + len(data) <= end:
                with self.lock:
                    device.write(address - start, data)
                return
        self.unclaimed.append(Unclaimed(address, len(data), True))
