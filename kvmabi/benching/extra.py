"""Rows beyond the series': registrations of our own, made and taken back as the guest goes along.

The guest writes the number of a row, doubled, to ROW_PORT before it, and with the lowest bit set
behind it: there the host registers what the row is about, and reads what was counted.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from kvmabi.benching.rows import Measured
from kvmabi.errors import GuestError, IoctlError
from kvmabi.vmm.doorbell import Doorbell, KvmRegistrar, Registration
from kvmabi.vmm.pc import PcMachine
from kvmabi.vmm.testdev import Hits

ROW_PORT: Final = 0xE00
ROW_PORTS: Final = 4
MMIO_AT: Final = 0xE000_0000
PORT_AT: Final = 0x4000
SPACING: Final = 8
"""Bytes from one registration to the next."""
DATA: Final = 0x1122_3344_5566_77FA
NTH: Final = (1, 10, 100, 1000)
WIDTHS: Final = {"mmio": (1, 2, 4, 8), "portio": (1, 2, 4)}
KINDS: Final = ("no", "wildcard", "datamatch", "any-length")
DRAIN_POLL_MS: Final = 100


@dataclass(frozen=True, slots=True)
class Extra:
    """A row of writes of `width` bytes to a registration of some kind, the `nth` that there is."""

    name: str
    bus: str
    """"mmio" or "portio"."""
    kind: str
    """"no" eventfd, "wildcard", "datamatch" or "any-length"."""
    width: int = 4
    nth: int = 0
    """So many registrations there are, side by side, and the last is written to; 0: just one."""
    drained: bool = False
    """Whether another thread reads the eventfd all the while."""
    cpus: int = 1

    @property
    def address(self) -> int:
        """Where the guest writes."""
        return (MMIO_AT if self.bus == "mmio" else PORT_AT) + max(0, self.nth) * SPACING

    @property
    def data(self) -> int:
        """What it writes."""
        return DATA & (1 << 8 * self.width) - 1

    @property
    def word(self) -> str:
        """The row as the guest takes it."""
        bus = "mem" if self.bus == "mmio" else "io"
        return f"{bus}:{self.address}:{self.width}:{self.data}:{self.cpus}:{self.name}"


def extra_rows() -> list[Extra]:
    """All of them; of those with one CPU, what leaves many registrations behind comes last."""
    rows = [
        Extra(f"{bus}-{kind}-{'eventfd-' * (kind != 'any-length')}w{width}", bus, kind, width)
        for bus, widths in WIDTHS.items()
        for kind in KINDS
        for width in widths
    ]
    for bus in WIDTHS:
        rows.append(Extra(f"{bus}-wildcard-drained", bus, "wildcard", drained=True))
        rows.append(Extra(f"{bus}-wildcard-2cpus", bus, "wildcard", cpus=2))
    rows += [Extra(f"mmio-wildcard-nth-of-{nth}", "mmio", "wildcard", nth=nth) for nth in NTH]
    return rows


class Extras:
    """The device at ROW_PORT; `counted` adds to the guest's rows what was counted of each."""

    def __init__(self, pc: PcMachine, rows: Sequence[Extra], first_row: int) -> None:
        self._pc = pc
        self._rows = {first_row + at: row for at, row in enumerate(rows)}
        self._registrar = KvmRegistrar(pc.vm)
        self._neighbours: list[Registration] = []
        self._running: _Running | None = None
        self._totals: dict[str, tuple[int, int]] = {}
        self._fds: list[int] = []

    def read(self, offset: int, size: int) -> bytes:
        """Zeroes."""
        return bytes(size)

    def write(self, offset: int, data: bytes) -> None:
        """A row starts or has ended."""
        row, ended = divmod(int.from_bytes(data, "little"), 2)
        extra = self._rows.get(row)
        if extra is None:
            return
        if not ended:
            self._running = self._start(extra)
        elif self._running is not None:
            self._totals[extra.name] = self._running.stop()
            self._running = None

    def _start(self, extra: Extra) -> _Running:
        bus = self._pc.mmio if extra.bus == "mmio" else self._pc.pio
        hits = Hits()
        bus.count_hits(extra.address, extra.width, hits.steps)
        registration = None
        if extra.kind != "no":
            if extra.nth:
                self._fill_up(extra)
            registration = self._register(extra, extra.address)
        return _Running(self, extra, hits, registration)

    def _fill_up(self, extra: Extra) -> None:
        """Register neighbours below the row's own, until they are all but one of its number."""
        while len(self._neighbours) < extra.nth - 1:
            address = extra.address - (extra.nth - 1 - len(self._neighbours)) * SPACING
            self._neighbours.append(self._register(extra, address))

    def _register(self, extra: Extra, address: int) -> Registration:
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._fds.append(fd)
        match = extra.data if extra.kind == "datamatch" else None
        width = 0 if extra.kind == "any-length" else extra.width
        bus = "mmio" if extra.bus == "mmio" else "pio"
        made = self._registrar.assign(bus, address, Doorbell(0, width, fd, match))
        if made.error:
            raise IoctlError(made.error, "KVM_IOEVENTFD", "VM", f"for the row {extra.name}")
        return made

    def end(self, running: _Running) -> None:
        """Take a row's registration back."""
        extra = running.extra
        bus = self._pc.mmio if extra.bus == "mmio" else self._pc.pio
        bus.count_hits(extra.address, extra.width, None)
        if running.registration:
            self._registrar.deassign(running.registration)
            self._close(running.registration.doorbell.fd)

    def _close(self, fd: int) -> None:
        if fd in self._fds:
            self._fds.remove(fd)
            os.close(fd)

    def counted(self, measured: Sequence[Measured]) -> list[Measured]:
        """The guest's rows with the host's counts; raises GuestError where they do not fit."""
        if {one.name for one in measured} != set(self._totals):
            raise GuestError("the guest's rows are not those that were asked for")
        return [_counted(one, *self._totals[one.name]) for one in measured]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._running:
            self._running.stop()
        for fd in list(self._fds):
            self._close(fd)


class _Running:
    """A row while the guest is at it."""

    def __init__(
        self, owner: Extras, extra: Extra, hits: Hits, registration: Registration | None
    ) -> None:
        self.extra = extra
        self.registration = registration
        self._owner = owner
        self._hits = hits
        self._signals = 0
        self._done = threading.Event()
        self._reader: threading.Thread | None = None
        if extra.drained and registration:
            self._reader = threading.Thread(target=self._drain, args=(registration.doorbell.fd,))
            self._reader.start()

    def stop(self) -> tuple[int, int]:
        """The exits and the signals of the row, which ends here."""
        self._done.set()
        if self._reader:
            self._reader.join()
        if self.registration:
            self._read(self.registration.doorbell.fd)
        self._owner.end(self)
        return self._hits.count, self._signals

    def _read(self, fd: int) -> None:
        with suppress(BlockingIOError):
            self._signals += os.eventfd_read(fd)

    def _drain(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while not self._done.is_set():
            if poll.poll(DRAIN_POLL_MS):
                self._read(fd)


def _counted(one: Measured, exits: int, signals: int) -> Measured:
    return replace(one, count=exits + signals, exits=exits, signals=signals)
