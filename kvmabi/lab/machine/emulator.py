"""What every emulator is to the lab: a machine to start, two lines out of it, and a certain end."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Final, Protocol

from kvmabi.errors import LabUnavailable
from kvmabi.lab.backends import Backend
from kvmabi.lab.inside.port import PARAMETER
from kvmabi.lab.lifeline import end_with

MEMORY_MIB: Final = 1024
BEGINNING: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""What the clock of a machine that counts instructions shows when it starts."""
SHARES_NET: Final = b"it could not leave this machine's network\n"
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWNET: Final = 0x4000_0000
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
    seed: int | None = None
    """What its random numbers start from, where its clocks are to count instructions."""

    @property
    def command_line(self) -> str:
        """The kernel's arguments, with the parameters of a KVM module that may be built in."""
        backend = self.backend
        carrier = f"{PARAMETER}{backend.emulator.carrier.name}"
        module = (f"{backend.module}.{one}" for one in backend.parameters.split())
        return " ".join((KERNEL_ARGUMENTS, carrier, *module, self.arguments)).strip()


class Line(Protocol):
    """Our end of a line out of the machine; neither reading nor writing waits."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Emulator(Protocol):
    """A running machine: frames come out of `port`, and what the kernel prints of `console`."""

    @property
    def port(self) -> Line:
        """Where the frames come from."""

    @property
    def console(self) -> Line:
        """Where the kernel's console is."""

    @property
    def takes_jobs(self) -> bool:
        """Whether a kernel that is ready gets its job by `port`; else it booted with it."""

    def how_it_ended(self) -> str:
        """Return how the emulator ended with what it said, or "" while it runs."""

    def close(self) -> None:
        """End the emulator; ending it twice is fine."""


def check_tools(backend: Backend) -> None:
    """Raise LabUnavailable, with the command that installs what is missing, where anything is."""
    files = backend.emulator.files
    missing = [name for name in files if shutil.which(name) is None and not Path(name).is_file()]
    if missing:
        packages = " ".join(sorted({files[name] for name in missing}))
        raise LabUnavailable(
            f"the back end {backend.name} needs {', '.join(missing)}. Install, then try again:  "
            f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install -y --no-install-recommends "
            f"{packages}"
        )


class Process:
    """An emulator's process, which the kernel ends when we end, however that comes about."""

    def __init__(
        self, words: Sequence[str], fds: Sequence[int], *, out: int | None = None, net: bool = True
    ) -> None:
        self._errors: IO[bytes] = os.fdopen(os.memfd_create("errors"), "r+b")
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._errors if out is None else out,
            stderr=self._errors,
            pass_fds=fds,
            start_new_session=True,  # Ctrl-C is ours to handle
            preexec_fn=partial(end_with if net else _end_without_net_with, os.getpid()),  # noqa: PLW1509 (no lock)
        )

    @property
    def pid(self) -> int:
        """The emulator's process id."""
        return self._process.pid

    @property
    def shares_net(self) -> bool:
        """Whether it was to have a network of its own, and could not."""
        return os.pread(self._errors.fileno(), len(SHARES_NET), 0) == SHARES_NET

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
        self._errors.close()


def _end_without_net_with(parent: int) -> None:
    """Leave this machine's network first, with all its ports; tell where that is refused.

    Root may, and others in a name space of their own, where the machine allows it. In this order,
    since a process in a new name space forgets whose end is to be its own.
    """
    if _libc.unshare(CLONE_NEWNET) and _libc.unshare(CLONE_NEWNET | CLONE_NEWUSER):
        os.write(2, SHARES_NET)
    end_with(parent)
