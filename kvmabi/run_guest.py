"""``kvmabi guest``: boot a multiboot image beside pci-testdev, its serial port on stdout."""

from __future__ import annotations

import argparse
import os
import re
import select
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kvmabi.arguments import seconds
from kvmabi.errors import UsageError
from kvmabi.kvm import System
from kvmabi.vmm.pc import PcConfig, PcMachine

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvmabi.vmm.doorbell import Registration

DEFAULT_TIMEOUT_S: Final = 90.0
STATUS_MASK: Final = 0xFF
_SUFFIXES: Final = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "B": 1}
_STDIN_POLL_MS: Final = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("image", metavar="IMAGE", help="a multiboot-1 ELF32 image")
    parser.add_argument(
        "--append", metavar="TEXT", default="", help="the guest's command line, behind its name"
    )
    parser.add_argument("--smp", metavar="N", type=int, default=1, help="how many CPUs (1)")
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        type=size_bytes,
        default=size_bytes("128M"),
        help="memory, in MiB or with K, M or G behind it (128M)",
    )
    parser.add_argument(
        "--membar",
        metavar="SIZE",
        type=size_bytes,
        default=0,
        help="give pci-testdev a BAR2 of this size, a power of two: 64-bit memory without backing",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_TIMEOUT_S,
        help=f"end the guest after so long ({DEFAULT_TIMEOUT_S:g})",
    )
    parser.add_argument(
        "--stdin", action="store_true", help="have the guest receive what comes on stdin"
    )
    parser.description = (
        "Boot a multiboot image beside pci-testdev. The exit code is the guest's own: a write of N "
        "to port 0xf4 gives N*2+1, as with QEMU: kvm-unit-tests' success is 1. Where kvmabi itself "
        "fails, stderr says why, and the codes below hold."
    )


def size_bytes(text: str) -> int:
    """A size such as 128, 128M or 4G in bytes; without a suffix in MiB."""
    match = re.fullmatch(r"(\d+)([KMGB]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 128M or 4G")
    return int(match[1]) * _SUFFIXES[match[2].upper()]


def run(args: argparse.Namespace) -> int:
    """Carry the verb out and return the guest's status."""
    path = Path(args.image)
    try:
        image = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    config = PcConfig(
        cpus=args.smp,
        memory_bytes=args.memory,
        membar_bytes=args.membar,
        name=path.name,
        append=args.append,
    )
    ways = _Ways()
    with System.open() as system, PcMachine(system, image, config, _to_stdout) as machine:
        machine.testdev.memory.started = machine.testdev.io.started = ways.note
        if args.stdin:
            threading.Thread(target=_feed, args=(machine.serial.feed,), daemon=True).start()
        try:
            status = machine.run(args.timeout)
        finally:
            ways.report()
    return status & STATUS_MASK


def _to_stdout(data: bytes) -> None:
    os.write(sys.stdout.fileno(), data)


def _feed(receive: Callable[[bytes], object]) -> None:
    """Pass stdin on until its end."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while True:
        if poll.poll(_STDIN_POLL_MS):
            data = os.read(0, 4096)
            if not data:
                return
            receive(data)


class _Ways:
    """How KVM was asked to serve the tests that name no one way: said once each, on stderr."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}

    def note(self, name: str, registrations: list[Registration]) -> None:
        """Remember how this test is registered."""
        for one in registrations:
            if one.error:
                self._lines[name] = f"{name}: KVM refused the ioeventfd: {os.strerror(one.error)}"
            elif one.doorbell.pv:
                self._lines[name] = f"{name}: by {one.how}"

    def report(self) -> None:
        """Say it."""
        for line in self._lines.values():
            sys.stderr.write(f"kvmabi guest: {line}\n")


if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("guest"))
