"""One QEMU process: its command, its lines to us, and its certain end.

Everything passes through inherited descriptors, the initramfs too: there is no file or socket to
leave behind. The kernel ends the emulator when we end, however that comes about.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from kvmabi.errors import LabUnavailable
from kvmabi.lab.backends import Backend
from kvmabi.lab.inside import PORT_NAME
from kvmabi.lab.machine.qmp import Monitor

MEMORY_MIB: Final = 1024
PR_SET_PDEATHSIG: Final = 1
KERNEL_ARGUMENTS: Final = (
    "console=ttyS0 quiet panic=-1 oops=panic random.trust_cpu=on printk.devkmsg=on "
    "nokaslr mitigations=off"
)
"""Source: Documentation/admin-guide/kernel-parameters.txt; each is there for a quick, sure end."""

_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the emulator is to be."""

    backend: Backend
    kernel: Path
    cpus: int = 1
    memory_mib: int = MEMORY_MIB
    arguments: str = ""
    """More arguments for the kernel."""


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
        backend.program,
        *("-machine", f"q35,accel={backend.accelerator}"),
        *("-cpu", backend.cpu, "-smp", str(machine.cpus), "-m", str(machine.memory_mib)),
        *("-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-kernel", str(machine.kernel), "-initrd", lines.initrd),
        *("-append", f"{KERNEL_ARGUMENTS} {machine.arguments}".strip()),
        *("-chardev", f"socket,id=console,fd={lines.console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=port,fd={lines.port}", "-device", "virtio-serial-pci"),
        *("-device", f"virtserialport,chardev=port,name={PORT_NAME}"),
        *("-chardev", f"socket,id=monitor,fd={lines.monitor}"),
        *("-mon", "chardev=monitor,mode=control"),
        *incoming,
    ]


def find_program(backend: Backend) -> str:
    """Return the emulator's path; LabUnavailable, with the command that installs it, without."""
    path = shutil.which(backend.program)
    if path is None:
        raise LabUnavailable(
            f"the back end {backend.name} needs {backend.program}. Install it, then try again:  "
            f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install -y --no-install-recommends "
            f"{backend.package}"
        )
    return path


def version(backend: Backend) -> str:
    """Return the first line of what the emulator says of itself."""
    done = subprocess.run(
        [find_program(backend), "--version"], capture_output=True, text=True, check=False
    )
    return done.stdout.partition("\n")[0]


class Emulator:
    """A running emulator; a context manager that ends it."""

    def __init__(self, machine: Machine, initramfs: bytes, state: Path | None = None) -> None:
        find_program(machine.backend)
        with ExitStack() as passed_on:
            self.port, port = _pair(passed_on)
            self.console, console = _pair(passed_on)
            self._monitor, monitor = _pair(passed_on)
            initrd = passed_on.enter_context(os.fdopen(os.memfd_create("initramfs"), "wb"))
            initrd.write(initramfs)
            initrd.flush()
            state_fd = passed_on.enter_context(state.open("rb")).fileno() if state else None
            self._errors = os.fdopen(os.memfd_create("errors"), "r+b")
            name = f"/proc/self/fd/{initrd.fileno()}"
            fds = [initrd.fileno(), port, console, monitor]
            self._process = subprocess.Popen(
                command(machine, Lines(name, port, console, monitor, state_fd)),
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=fds if state_fd is None else [*fds, state_fd],
                start_new_session=True,  # Ctrl-C is ours to handle
                preexec_fn=_end_with_us,  # noqa: PLW1509 (one call, no lock)
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
        status = self._process.poll()
        if status is None:
            return ""
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{how}: {said}" if said else how

    def close(self) -> None:
        """End the emulator; ending it twice is fine."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for one in (self.port, self.console, self._monitor, self._errors):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pair(passed_on: ExitStack) -> tuple[socket.socket, int]:
    ours, theirs = socket.socketpair()
    return ours, passed_on.enter_context(theirs).fileno()


def _end_with_us() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
