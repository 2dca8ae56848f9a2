"""What KVM promises for ioeventfds, as a pure state machine: no device is touched here.

`VmContract.ioeventfd` answers a KVM_IOEVENTFD with 0 or an errno, and `VmContract.access` answers
a guest's access with the signals and exits that it must cause. Both also name the promise (see
`kvmabi.ioeventfd.promises`) that decides. The rules below say what a program may rely on; they do
not follow the way in which a kernel stores its registrations or searches them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from kvmabi.ioeventfd import promises
from kvmabi.uapi import (
    KVM_IOEVENTFD_FLAG_DATAMATCH,
    KVM_IOEVENTFD_FLAG_DEASSIGN,
    KVM_IOEVENTFD_FLAG_PIO,
    KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY,
)

ADDRESS_SPACE: Final = 1 << 64
PAGE_SIZE: Final = 4096
Spot = tuple["Bus", int]
Shape = tuple[int, int | None]
LENGTHS: Final = frozenset({0, 1, 2, 4, 8})
EVENTFD_MAX: Final = ADDRESS_SPACE - 1


class Bus(StrEnum):
    """The address space that a registration or an access belongs to."""

    MMIO = "mmio"
    PIO = "pio"
    VIRTIO_CCW = "virtio_ccw"

    @classmethod
    def of_flags(cls, flags: int) -> Bus:
        """Return the bus that KVM_IOEVENTFD_FLAG_* select; PIO wins where two are named."""
        if flags & KVM_IOEVENTFD_FLAG_PIO:
            return cls.PIO
        if flags & KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY:
            return cls.VIRTIO_CCW
        return cls.MMIO


BUS_FLAGS: Final = {
    Bus.MMIO: 0,
    Bus.PIO: KVM_IOEVENTFD_FLAG_PIO,
    Bus.VIRTIO_CCW: KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY,
}
"""The flags that select each bus."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the contract must know of the kernel under test.

    `valid_flag_mask` holds the flag bits that the kernel's own assign accepts, `mask_source` says
    where that was read; `pv_mmio` is the kernel's KVM_IOEVENTFD_FLAG_PV_MMIO, 0 where it has none.
    """

    valid_flag_mask: int
    mask_source: str
    any_length: bool = True
    no_length: bool = True
    pv_mmio: int = 0

    def takes_any_length(self, bus: Bus) -> bool:
        """Return whether `len == 0` may be registered on `bus`."""
        return self.any_length or (self.no_length and bus is Bus.MMIO)


@dataclass(slots=True, eq=False)
class Eventfd:
    """An eventfd object as the kernel holds it: its 64-bit count. Compared by identity."""

    count: int = 0

    def signal(self) -> None:
        """Add 1, and stay at 2^64 - 1 once there."""
        self.count = min(self.count + 1, EVENTFD_MAX)

    @property
    def overflown(self) -> bool:
        """Whether poll reports POLLERR."""
        return self.count == EVENTFD_MAX


class Request(NamedTuple):
    """The arguments of one KVM_IOEVENTFD.

    `eventfd` is what the fd refers to: an `Eventfd`, or the errno that the fd itself earns (EBADF
    where it is not open, EINVAL where it is open but no eventfd).
    """

    addr: int
    len: int
    flags: int
    datamatch: int
    eventfd: Eventfd | int


class Registration(NamedTuple):
    """One registered ioeventfd; `datamatch` is None for a wildcard."""

    bus: Bus
    addr: int
    len: int
    datamatch: int | None
    eventfd: Eventfd

    @property
    def spot(self) -> Spot:
        """Its bus and address: registrations of different spots never touch each other."""
        return self.bus, self.addr

    @property
    def shape(self) -> Shape:
        """Its length and datamatch: what tells registrations of one spot apart."""
        return self.len, self.datamatch


def matching_shapes(width: int, value: int) -> tuple[Shape, Shape, Shape]:
    """Return the shapes that a write of `width` bytes signals, at their spot (promises 4 and 5)."""
    return (0, None), (width, None), (width, value)


def clash(one: Shape, other: Shape) -> bool:
    """Return whether one write could match both shapes at the same spot (promise 8)."""
    if one[0] == 0 or other[0] == 0:
        return True
    return one[0] == other[0] and (one[1] is None or other[1] is None or one[1] == other[1])


class Answer(NamedTuple):
    """The expected result of one ioctl: 0 or an errno, and the promise that decides."""

    errno: int
    promise: int


class ExpectedExit(NamedTuple):
    """An exit to user space that must come. `value` is None for a read."""

    bus: Bus
    address: int
    width: int
    value: int | None


class Reaction(NamedTuple):
    """What one guest access must cause: signals and exits, each in order, and the promise."""

    signals: tuple[Eventfd, ...]
    exits: tuple[ExpectedExit, ...]
    promise: int


def is_split(bus: Bus, address: int, width: int) -> bool:
    """Return whether an access crosses into the next page; ports have no pages."""
    return bus is Bus.MMIO and address % PAGE_SIZE + width > PAGE_SIZE


def fragments(bus: Bus, address: int, width: int) -> Iterator[tuple[int, int, int]]:
    """Yield (address, width, byte offset) of the parts in which an access reaches the bus.

    A memory access is split where it crosses into the next page (promise 15).
    """
    if is_split(bus, address, width):
        until_page_end = PAGE_SIZE - address % PAGE_SIZE
        yield address, until_page_end, 0
        yield address + until_page_end, width - until_page_end, until_page_end
    else:
        yield address, width, 0


@dataclass(slots=True)
class VmContract:
    """The registrations of one VM, and what they promise."""

    kernel: Kernel
    registered: dict[Spot, dict[Shape, Registration]] = field(default_factory=dict)
    removed: set[tuple[Spot, Shape]] = field(default_factory=set)
    newest: Registration | None = None
    """The one that was registered last."""

    def ioeventfd(self, request: Request) -> Answer:
        """Return what KVM_IOEVENTFD must answer, and register or remove accordingly."""
        if request.flags & KVM_IOEVENTFD_FLAG_DEASSIGN:
            return self._deassign(request)
        return self._assign(request)

    def _assign(self, request: Request) -> Answer:
        refused_by = self._refusal(request)
        if refused_by is not None:
            return Answer(errno.EINVAL, refused_by)
        if isinstance(request.eventfd, int):
            return Answer(request.eventfd, promises.ARGUMENTS)
        new = _registration(request, request.eventfd)
        shape = new.shape
        neighbours = self.registered.setdefault(new.spot, {})
        if any(clash(shape, old) for old in neighbours):
            return Answer(errno.EEXIST, promises.CLASH)
        neighbours[shape] = new
        self.newest = new
        if len(neighbours) > 1:
            return Answer(0, promises.SHARING)
        return Answer(0, promises.ARGUMENTS if new.len else promises.ANY_LENGTH)

    def _refusal(self, request: Request) -> int | None:
        """Return the promise by which the arguments alone earn EINVAL, or None."""
        flags = request.flags
        datamatch = flags & KVM_IOEVENTFD_FLAG_DATAMATCH
        if request.len not in LENGTHS:
            return promises.ARGUMENTS
        if request.len and request.addr + request.len >= ADDRESS_SPACE:
            return promises.ARGUMENTS
        if flags & ~self.kernel.valid_flag_mask:
            return promises.ARGUMENTS
        if request.len == 0 and datamatch:
            return promises.ARGUMENTS
        if request.len == 0 and not self.kernel.takes_any_length(Bus.of_flags(flags)):
            return promises.ANY_LENGTH
        if flags & self.kernel.pv_mmio and (datamatch or flags & KVM_IOEVENTFD_FLAG_PIO):
            return promises.PV_MMIO
        return None

    def _deassign(self, request: Request) -> Answer:
        if isinstance(request.eventfd, int):
            return Answer(request.eventfd, promises.DEASSIGN)
        target = _registration(request, request.eventfd)
        spot, shape = target.spot, target.shape
        neighbours = self.registered.get(spot, {})
        if neighbours.get(shape) != target:
            return Answer(errno.ENOENT, promises.DEASSIGN)
        del neighbours[shape]
        if not neighbours:
            del self.registered[spot]
        self.removed.add((spot, shape))
        return Answer(0, promises.DEASSIGN)

    def registrations(self) -> list[Registration]:
        """Return all registrations, grouped by bus and address."""
        return [each for several in self.registered.values() for each in several.values()]

    def write(self, bus: Bus, address: int, width: int, value: int) -> Reaction:
        """Return what a guest's write of `width` bytes must cause, and signal accordingly.

        `value` is the value written, below 2 ** (8 * width); it is little endian where a page
        boundary splits it.
        """
        if is_split(bus, address, width):
            parts = [
                self._write_whole(bus, at, size, value >> 8 * skip & (1 << 8 * size) - 1)
                for at, size, skip in fragments(bus, address, width)
            ]
            signals = tuple(each for part in parts for each in part.signals)
            exits = tuple(each for part in parts for each in part.exits)
            return Reaction(signals, exits, promises.ELEMENTS)
        return self._write_whole(bus, address, width, value)

    def _write_whole(self, bus: Bus, address: int, width: int, value: int) -> Reaction:
        """Return what a write within one page must cause, and signal accordingly."""
        neighbours = self.registered.get((bus, address), {})
        shapes = matching_shapes(width, value)
        matching = [neighbours[shape] for shape in shapes if shape in neighbours]
        if len(matching) > 1:
            raise AssertionError(f"the contract let {matching} share one write")
        if matching:
            eventfd = matching[0].eventfd
            eventfd.signal()
            promise = promises.SATURATION if eventfd.overflown else promises.SIGNAL
            return Reaction((eventfd,), (), promise)
        promise = self._miss_promise(bus, address, width, value)
        return Reaction((), (ExpectedExit(bus, address, width, value),), promise)

    def read(self, bus: Bus, address: int, width: int) -> Reaction:
        """Return what a guest's read must cause: exits alone (promise 3)."""
        exits = tuple(
            ExpectedExit(bus, at, size, None) for at, size, _ in fragments(bus, address, width)
        )
        return Reaction((), exits, promises.READ)

    def _miss_promise(self, bus: Bus, address: int, width: int, value: int) -> int:
        """Return the promise that says most about a write that matches nothing."""
        spot = (bus, address)
        if any(length == width for length, _ in self.registered.get(spot, {})):
            return promises.DATAMATCH
        if self.registered:
            return promises.MATCH
        if any((spot, shape) in self.removed for shape in matching_shapes(width, value)):
            return promises.AFTER_DEASSIGN
        return promises.EXIT


def _registration(request: Request, eventfd: Eventfd) -> Registration:
    wildcard = not request.flags & KVM_IOEVENTFD_FLAG_DATAMATCH
    return Registration(
        bus=Bus.of_flags(request.flags),
        addr=request.addr,
        len=request.len,
        datamatch=None if wildcard else request.datamatch,
        eventfd=eventfd,
    )
