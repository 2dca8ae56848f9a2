"""One QEMU process: its command, its lines to us, and its certain end.

Everything passes through inherited descriptors, the initramfs too: there is no file or socket to
leave behind. The kernel ends the emulator when we end, however that comes about.
"""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from kvmabi.lab.backends import DEBUG_PORT, VIRTIO
from kvmabi.lab.inside.port import DEBUG_PORT as DEBUG_PORT_NUMBER
from kvmabi.lab.inside.port import PORT_NAME
from kvmabi.lab.machine.emulator import BEGINNING, Machine, Process
from kvmabi.lab.machine.qmp import Monitor

_CARRIERS: Final = MappingProxyType(
    {
        VIRTIO.name: (
            *("-device", "virtio-serial-pci"),
            *("-device", f"virtserialport,chardev=port,name={PORT_NAME}"),
        ),
        DEBUG_PORT.name: ("-device", f"isa-debugcon,iobase={DEBUG_PORT_NUMBER:#x},chardev=port"),
    }
)
"""Carrier to the device that is its host's end."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What the emulator inherits: a file's name, and the numbers of sockets and of a state file."""

    initrd: str
    port: int
    console: int
    monitor: int
    state: int | None = None


def command(machine: Machine, lines: Lines) -> list[str]:
    """Return QEMU's command line; with a state it goes on from there, else it boots."""
    backend = machine.backend
    incoming = [] if lines.state is None else ["-incoming", f"fd:{lines.state}"]
    return [
        backend.emulator.program,
        *("-machine", f"q35,accel={backend.accelerator}"),
        *("-cpu", backend.cpu, "-smp", str(machine.cpus), "-m", str(machine.memory_mib)),
        *("-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-kernel", str(machine.kernel), "-initrd", lines.initrd),
        *("-append", machine.command_line),
        *("-chardev", f"socket,id=console,fd={lines.console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=port,fd={lines.port}"),
        *_CARRIERS[backend.emulator.carrier.name],
        *("-chardev", f"socket,id=monitor,fd={lines.monitor}"),
        *("-mon", "chardev=monitor,mode=control"),
        *_counting(machine.seed),
        *incoming,
    ]


def _counting(seed: int | None) -> list[str]:
    """Return what has the machine's clocks count instructions, and no clock of ours come in."""
    if seed is None:
        return []
    clock = f"base={BEGINNING:%Y-%m-%dT%H:%M:%S},clock=vm"
    return ["-icount", "shift=1,sleep=off", "-rtc", clock, "-seed", str(seed)]


def version(program: str) -> str:
    """Return the first line of what the emulator says of itself."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


class Emulator:
    """A running QEMU, as `kvmabi.lab.machine.emulator.Emulator`; a context manager that ends it.

    With a `state` it goes on from there, else it boots.
    """

    def __init__(self, machine: Machine, initramfs: bytes, state: Path | None = None) -> None:
        self.takes_jobs = machine.backend.emulator.carrier.both_ways
        with ExitStack() as passed_on:
            self.port, port = _pair(passed_on)
            self.console, console = _pair(passed_on)
            self._monitor, monitor = _pair(passed_on)
            initrd = passed_on.enter_context(os.fdopen(os.memfd_create("initramfs"), "wb"))
            initrd.write(initramfs)
            initrd.flush()
            state_fd = passed_on.enter_context(state.open("rb")).fileno() if state else None
            name = f"/proc/self/fd/{initrd.fileno()}"
            fds = [initrd.fileno(), port, console, monitor]
            lines = Lines(name, port, console, monitor, state_fd)
            self._process = Process(
                command(machine, lines), fds if state_fd is None else [*fds, state_fd]
            )
        self.port.setblocking(False)
        self.console.setblocking(False)

    @property
    def pid(self) -> int:
        """The emulator's process id."""
        return self._process.pid

    def monitor(self) -> Monitor:
        """Return the emulator's monitor; to be asked for once."""
        return Monitor(self._monitor)

    def how_it_ended(self) -> str:
        """Return how the emulator ended with what it said, or "" while it runs."""
        return self._process.how_it_ended()

    def close(self) -> None:
        """End the emulator; ending it twice is fine."""
        self._process.close()
        for one in (self.port, self.console, self._monitor):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pair(passed_on: ExitStack) -> tuple[socket.socket, int]:
    ours, theirs = socket.socketpair()
    return ours, passed_on.enter_context(theirs).fileno()
