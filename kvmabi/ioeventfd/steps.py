"""The words that a case is written in: what is done, in order, symbolically and without a device.

Addresses are relative to a BAR of the PCI test device, file descriptors have names, and the bit of
KVM_IOEVENTFD_FLAG_PV_MMIO is left to the kernel under test; `Layout` and the runner fill them in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kvmabi.ioeventfd.contract import Bus
from kvmabi.uapi import KVM_IOEVENTFD_FLAG_DATAMATCH, KVM_IOEVENTFD_FLAG_DEASSIGN


class Base(StrEnum):
    """What an address counts from."""

    BAR0 = "BAR0"
    """The memory BAR: a gpa."""
    BAR1 = "BAR1"
    """The I/O BAR: a port."""
    ZERO = "0"
    """The start of the address space."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address: `offset` in bytes from `base`."""

    base: Base
    offset: int

    def __add__(self, delta: int) -> Place:
        return Place(self.base, self.offset + delta)

    def __str__(self) -> str:
        if self.base is Base.ZERO:
            return f"{self.offset:#x}"
        sign = "-" if self.offset < 0 else "+"
        return f"{self.base}{sign}{abs(self.offset):#x}"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a machine has the BARs of its PCI test device: `bar0` a gpa, `bar1` a port."""

    bar0: int
    bar1: int

    def resolve(self, place: Place) -> int:
        """Return the absolute address of `place`."""
        if place.base is Base.BAR0:
            return self.bar0 + place.offset
        if place.base is Base.BAR1:
            return self.bar1 + place.offset
        return place.offset


class FdKind(StrEnum):
    """What a case's file descriptor is made from."""

    EVENTFD = "eventfd"
    SEMAPHORE = "semaphore"
    NONBLOCKING = "nonblocking"
    PIPE = "pipe"
    FILE = "file"
    DIRECTORY = "directory"
    EPOLL = "epoll"
    KVM = "kvm"
    PATH = "path"
    """Opened with O_PATH: a number that stands for no open file to the kernel's file calls."""
    MINUS_ONE = "minus-one"
    LEAST = "least"
    """-2^31."""
    HUGE = "huge"
    """2^30: a number that no process may open."""
    CLOSED = "closed"

    @property
    def is_eventfd(self) -> bool:
        """Whether KVM_IOEVENTFD takes such an fd."""
        return self in (FdKind.EVENTFD, FdKind.SEMAPHORE, FdKind.NONBLOCKING)

    @property
    def is_open(self) -> bool:
        """Whether the kernel takes the number for an open file; EBADF if not."""
        return self not in (FdKind.PATH, FdKind.CLOSED, *NUMBERS)


NUMBERS: Final = {FdKind.MINUS_ONE: -1, FdKind.LEAST: -(1 << 31), FdKind.HUGE: 1 << 30}
"""The kinds that are a number alone."""


@dataclass(frozen=True, slots=True)
class OpenFd:
    """Open a file descriptor and name it."""

    name: str
    kind: FdKind = FdKind.EVENTFD


@dataclass(frozen=True, slots=True)
class DupFd:
    """Give the file behind `of` a second descriptor, `name`."""

    name: str
    of: str


@dataclass(frozen=True, slots=True)
class CloseFd:
    """Close one descriptor; its name then stands for a closed one."""

    name: str


@dataclass(frozen=True, slots=True)
class FillFd:
    """Write `count` to an eventfd that holds 0: it holds `count` afterwards (up to 2^64 - 2)."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Ioeventfd:
    """One KVM_IOEVENTFD: an assign, or with KVM_IOEVENTFD_FLAG_DEASSIGN in `flags` a deassign.

    `pv_mmio` adds the PV_MMIO flag at the bit that the kernel under test gives it, or at the bit
    that the overlay proposes where the kernel has none.
    """

    place: Place
    len: int
    flags: int = 0
    datamatch: int = 0
    fd: str = "e"
    vm: int = 0
    pv_mmio: bool = False

    @property
    def is_deassign(self) -> bool:
        """Whether this removes a registration."""
        return bool(self.flags & KVM_IOEVENTFD_FLAG_DEASSIGN)

    def deassign(self) -> Ioeventfd:
        """Return the request that removes what this one registers."""
        return Ioeventfd(
            self.place,
            self.len,
            self.flags | KVM_IOEVENTFD_FLAG_DEASSIGN,
            self.datamatch,
            self.fd,
            self.vm,
            self.pv_mmio,
        )

    @property
    def bus(self) -> Bus:
        """The bus that the flags select."""
        return Bus.of_flags(self.flags)

    @property
    def wildcard(self) -> bool:
        """Whether any data matches."""
        return not self.flags & KVM_IOEVENTFD_FLAG_DATAMATCH


ACCUMULATOR: Final = 0xA5A4_A3A2_A1A0_9F9E
"""What the guest's rax holds before it reads."""


@dataclass(frozen=True, slots=True)
class Access:
    """One guest instruction: `width` bytes (1, 2, 4, 8; ports up to 4) at `place`.

    `values` holds what is written, one value an element; a read has as many zeros as elements.
    `string` makes it one `rep outs/ins/movs`, whose memory elements lie side by side and whose
    port elements all go to the same port. `insn` asks for an encoding of that many bytes (0: the
    ordinary one).
    """

    bus: Bus
    place: Place
    width: int
    values: tuple[int, ...] = (0,)
    write: bool = True
    string: bool = False
    insn: int = 0


@dataclass(frozen=True, slots=True)
class CoalescedZones:
    """Register `count` coalesced zones of 4 bytes, side by side from `place` on.

    They are other devices on the same bus, at addresses that the case does not access.
    """

    bus: Bus
    place: Place
    count: int
    vm: int = 0


@dataclass(frozen=True, slots=True)
class GuestRun:
    """The accesses that one vCPU makes in one go, and all that they cause is looked at.

    With `handover`, two threads make the KVM_RUNs in turn: one ends what the other began. With
    `unread`, the eventfds are not read afterwards, but after a later run or at the case's end.
    """

    accesses: tuple[Access, ...]
    vm: int = 0
    vcpu: int = 0
    handover: bool = False
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Together:
    """Guest runs that happen at the same time, on different vCPUs.

    They are made again until they did overlap, so each must be long enough for that. Their order
    among each other must change nothing.
    """

    runs: tuple[GuestRun, ...]


@dataclass(frozen=True, slots=True)
class ReplaceVm:
    """Close a VM with all that is registered in it, and make a new one in its place."""

    vm: int = 0


Step = (
    OpenFd | DupFd | CloseFd | FillFd | Ioeventfd | CoalescedZones | GuestRun | Together | ReplaceVm
)


@dataclass(frozen=True, slots=True)
class Case:
    """One case of the matrix: a stable id, what it is about, and the steps that try it.

    `bus`, `len` and `phase` place it in the summary; `hazardous` says why it must not run on a
    user's kernel unless named ("" where it is harmless).
    """

    id: str
    family: str
    bus: str
    len: str
    phase: str
    steps: tuple[Step, ...]
    hazardous: str = ""

    @property
    def vms(self) -> int:
        """How many VMs the steps need."""
        return 1 + max((vm for vm, _ in self._vcpus()), default=0)

    @property
    def vcpus(self) -> int:
        """How many vCPUs a VM the steps need."""
        return 1 + max((vcpu for _, vcpu in self._vcpus()), default=0)

    def _vcpus(self) -> list[tuple[int, int]]:
        used: list[tuple[int, int]] = []
        for step in self.steps:
            match step:
                case GuestRun(vm=vm, vcpu=vcpu):
                    used.append((vm, vcpu))
                case Together(runs=runs):
                    used += [(run.vm, run.vcpu) for run in runs]
                case Ioeventfd(vm=vm) | ReplaceVm(vm=vm):
                    used.append((vm, 0))
        return used

    @property
    def elements(self) -> int:
        """How many values the guest reads or writes."""
        runs = [step for step in self.steps if isinstance(step, GuestRun)]
        runs += [run for step in self.steps if isinstance(step, Together) for run in step.runs]
        return sum(len(access.values) for run in runs for access in run.accesses)

    @property
    def ioctls(self) -> int:
        """How many registrations the case changes: what it costs, in grace periods."""
        zones = sum(step.count for step in self.steps if isinstance(step, CoalescedZones))
        return zones + sum(isinstance(step, Ioeventfd) for step in self.steps)
