"""The bench guest under QEMU with KVM and its pci-testdev: the reference that others know."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from kvmabi.benching.rows import Measured, parse
from kvmabi.errors import GuestError, ToolMissing
from kvmabi.guest import bench_image

PROGRAM: Final = "qemu-system-x86_64"
GUEST_DONE: Final = 1
OPTIONS: Final = (
    *("-nodefaults", "-accel", "kvm", "-cpu", "host", "-machine", "pc", "-m", "128"),
    *("-display", "none", "-serial", "stdio", "-device", "pci-testdev"),
    *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"),
)


def version() -> str:
    """The first line of QEMU's own version; raises ToolMissing where there is no QEMU."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise ToolMissing(f"{PROGRAM} is not installed: sudo apt-get install qemu-system-x86")
    found = subprocess.run(
        [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return found.stdout.partition("\n")[0] or PROGRAM


def run_qemu(words: str, deadline_s: float) -> list[Measured]:
    """The rows of these words, measured under QEMU; raises GuestError where it does not end well.

    A guest that KVM cannot get on with makes QEMU wait for ever, so it is killed at its deadline.
    """
    with tempfile.TemporaryDirectory(prefix="kvmabi-bench-") as scratch:
        image = Path(scratch) / "bench.elf"
        image.write_bytes(bench_image())
        command = [PROGRAM, *OPTIONS, "-kernel", str(image), "-append", words]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=deadline_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise GuestError(f"QEMU had not ended the bench in {deadline_s:g} s") from None
    if done.returncode != GUEST_DONE:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise GuestError(f"QEMU ended with {done.returncode}: {' '.join(last)}")
    return parse(done.stdout.decode("ascii", "replace"))
