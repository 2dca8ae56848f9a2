"""The line to the host, as the first process of the kernel under test has it.

Which one there is stands on the kernel's command line. Nothing but the standard library is needed.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

PARAMETER: Final = "kvmabi.carrier="
"""The kernel parameter that names the carrier."""
PORT_NAME: Final = "kvmabi"
NO_VIRTIO: Final = "no virtio-serial port came up"
NO_IO_PORT: Final = "no program may use I/O ports"
UNKNOWN: Final = "the kernel's command line names no line to the host"
DEADLINE_S: Final = 10.0
READ_BYTES: Final = 1 << 16
JOB_FILE: Final = "job.json"
"""Where the job is in an initramfs that has it."""
DEBUG_PORT: Final = 0xE9
"""The port that bochs passes on. Source: its port_e9_hack."""
OUT_ALL: Final = b"".join(
    (
        bytes.fromhex("48 89 f1"),  # mov rcx, rsi: the count
        bytes.fromhex("48 89 fe"),  # mov rsi, rdi: the text
        bytes.fromhex("ba") + DEBUG_PORT.to_bytes(4, "little"),  # mov edx, DEBUG_PORT
        bytes.fromhex("fc f3 6e c3"),  # cld; rep outsb; ret
    )
)
"""A function of (text, count), which puts all of the text out to the port."""


class Trouble(Exception):
    """The verb cannot be started in this kernel; the text goes out."""


class Port(Protocol):
    """A line to the host. `is_told_when_ready`: it has no job before the kernel is ready."""

    is_told_when_ready: bool
    about: str
    """What it is, as results name it."""

    def send(self, data: bytes) -> None:
        """Send all of the data."""

    def read_job(self) -> dict[str, Any]:
        """Return the host's job."""


class VirtioPort:
    """A virtio-serial port, which carries both ways."""

    is_told_when_ready = True
    about = "virtio-serial"

    def __init__(self) -> None:
        self._fd = self._open()

    @staticmethod
    def _open() -> int:
        give_up = time.monotonic() + DEADLINE_S
        while time.monotonic() < give_up:
            for name in Path("/sys/class/virtio-ports").glob("*/name"):
                if name.read_text().strip() == PORT_NAME:
                    with suppress(OSError):
                        return os.open(f"/dev/{name.parent.name}", os.O_RDWR | os.O_CLOEXEC)
            time.sleep(0.02)
        raise Trouble(NO_VIRTIO)

    def send(self, data: bytes) -> None:
        """Send all of the data."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]

    def read_job(self) -> dict[str, Any]:
        """Return the job that the host sends, a line of JSON, once it is there."""
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self._fd, READ_BYTES)
            if not piece:  # the host's end is not open yet
                time.sleep(0.01)
            line += piece
        job: dict[str, Any] = json.loads(line)
        return job


class DebugPort:
    """An I/O port of the emulator's, which carries outwards alone; the job came at boot.

    It is written by the instruction itself where the kernel allows that, else by way of /dev/port,
    which takes one system call a byte, and which a distribution's kernel may lack.
    """

    is_told_when_ready = False

    def __init__(self) -> None:
        by_instruction = _by_instruction()
        self._write = by_instruction or _by_file()
        self.about = f"debug port, by {'instruction' if by_instruction else '/dev/port'}"

    def send(self, data: bytes) -> None:
        """Send all of the data."""
        self._write(data)

    def read_job(self) -> dict[str, Any]:
        """Return the job that lies in the initramfs."""
        job: dict[str, Any] = json.loads(Path("/", JOB_FILE).read_text())
        return job


def _by_instruction() -> Callable[[bytes], None] | None:
    if ctypes.CDLL(None).ioperm(DEBUG_PORT, 1, 1):
        return None
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(OUT_ALL)
    place = ctypes.c_char.from_buffer(code)  # keeps the mapping
    out = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_size_t)(ctypes.addressof(place))

    def write(data: bytes) -> None:
        _ = place
        out(data, len(data))

    return write


def _by_file() -> Callable[[bytes], None]:
    try:
        fd = os.open("/dev/port", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Trouble(f"{NO_IO_PORT}: {error.strerror}") from error

    def write(data: bytes) -> None:
        for byte in data:  # several at once would go to several ports
            os.pwrite(fd, bytes((byte,)), DEBUG_PORT)

    return write


_CARRIERS: Final = MappingProxyType[str, Callable[[], Port]](
    {"virtio": VirtioPort, "debug-port": DebugPort}
)


def open_port(command_line: str) -> Port:
    """Return the line to the host that the kernel's command line names; Trouble without one."""
    words = command_line.split()
    names = [word.removeprefix(PARAMETER) for word in words if word.startswith(PARAMETER)]
    if not names or names[-1] not in _CARRIERS:
        raise Trouble(UNKNOWN)
    return _CARRIERS[names[-1]]()
