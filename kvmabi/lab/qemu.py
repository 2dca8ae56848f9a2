"""One QEMU process: its command, its three lines to us, and its certain end.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from kvmabi.errors import LabUnavailable
from kvmabi.lab.backends import Backend
from kvmabi.lab.inside import PORT_NAME

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


def command(machine: Machine, initrd: str, port: int, console: int) -> list[str]:
    """Return QEMU's command line; `port` and `console` are descriptors of sockets."""
    backend = machine.backend
    return [
        backend.program,
        *("-machine", f"q35,accel={backend.accelerator}"),
        *("-cpu", backend.cpu, "-smp", str(machine.cpus), "-m", str(machine.memory_mib)),
        *("-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-kernel", str(machine.kernel), "-initrd", initrd),
        *("-append", f"{KERNEL_ARGUMENTS} {machine.arguments}".strip()),
        *("-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=port,fd={port}", "-device", "virtio-serial-pci"),
        *("-device", f"virtserialport,chardev=port,name={PORT_NAME}"),
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

    def __init__(self, machine: Machine, initramfs: bytes) -> None:
        find_program(machine.backend)
        self.port, port = socket.socketpair()
        self.console, console = socket.socketpair()
        initrd = os.memfd_create("initramfs")
        errors = os.memfd_create("errors")
        self._errors = os.fdopen(errors, "r+b")
        with os.fdopen(initrd, "wb") as file, port, console:
            file.write(initramfs)
            file.flush()
            fds = (initrd, port.fileno(), console.fileno())
            self._process = subprocess.Popen(
                command(machine, f"/proc/self/fd/{initrd}", *fds[1:]),
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=fds,
                start_new_session=True,  # Ctrl-C is ours to handle
                preexec_fn=_end_with_us,  # noqa: PLW1509 (one call, no lock)
            )
        self.port.setblocking(False)
        self.console.setblocking(False)

    @property
    def pid(self) -> int:
        """The emulator's process id."""
        return self._process.pid

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
        for one in (self.port, self.console, self._errors):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end_with_us() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
