"""One bochs process, which boots a kernel from a CD that is made for it.

Its configuration and the CD lie in memory, the kernel's console comes by a pipe and the frames by
its standard output: no file is left behind, whatever happens. Debian's bochs draws its screen for
the net alone (rfb); it gets a network of its own for that, so that nobody can look or meet, and
where the machine allows it none, that is told.
Source: bochsrc(5).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from kvmabi.lab.backends import BIOS, ISOLINUX, LDLINUX, VGA_BIOS
from kvmabi.lab.machine import iso
from kvmabi.lab.machine.emulator import Machine, Process

BANNER: Final = "Emulator "
STEPS_A_SECOND: Final = 50_000_000
"""How many instructions the guest's second has: what its clocks count, not what bochs can do."""
OPEN_SCREEN: Final = (
    "kvmabi lab: note: bochs listens on a port of this machine (5900 or the next free), where all "
    "can see its screen: it may have no network of its own (unshare(2) is refused)\n"
)
LOADER: Final = "ISOLINUX.BIN"
REBOOT: Final = "reboot=triple"
"""A machine that is reset would boot again for ever; of a triple fault bochs makes an end."""
CLOCK: Final = f"tsc_early_khz={STEPS_A_SECOND // 1000}"
"""So fast is the guest's clock, whatever frequency a CPU model claims: one that was believed to
have 3.5 GHz took 70 times as long for each delay."""
GO: Final = b"c\n"
"""Debian's bochs is the debugger, and waits to be told."""
_LOADER_CONFIGURATION: Final = """\
DEFAULT kernel
PROMPT 0
LABEL kernel
 KERNEL VMLINUZ
 INITRD INITRD
 APPEND {command_line}
"""
_CONFIGURATION: Final = """\
display_library: rfb, options="timeout=0"
cpu: model={cpu}, ips={steps}, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={memory_mib}, host={memory_mib}
pci: enabled=1, chipset=i440fx
romimage: file={bios}
vgaromimage: file={vga_bios}
ata0-master: type=cdrom, path={cd}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={console}
port_e9_hack: enabled=1
clock: sync=none
speaker: enabled=0
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
log: /dev/stderr
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"""


def configuration(machine: Machine, *, cd: str, console: str) -> str:
    """Return the bochsrc of a machine with this CD, and its serial line in that file."""
    return _CONFIGURATION.format(
        cpu=machine.backend.cpu,
        steps=STEPS_A_SECOND,
        memory_mib=machine.memory_mib,
        bios=BIOS,
        vga_bios=VGA_BIOS,
        cd=cd,
        console=console,
    )


def cd_image(machine: Machine, initramfs: bytes) -> bytes:
    """Return the CD with the kernel and its initramfs."""
    command_line = f"{machine.command_line} {REBOOT} {CLOCK}"
    files = {
        LOADER: Path(ISOLINUX).read_bytes(),
        "LDLINUX.C32": Path(LDLINUX).read_bytes(),
        "ISOLINUX.CFG": _LOADER_CONFIGURATION.format(command_line=command_line).encode(),
        "VMLINUZ": machine.kernel.read_bytes(),
        "INITRD": initramfs,
    }
    return iso.image(files, LOADER)


def version(program: str) -> str:
    """Return the emulator's name and version, as it says them above its help."""
    words = [program, "--help", "features"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = (line.strip() for line in done.stdout.splitlines())
    return next((line for line in lines if BANNER in line), program)


class Emulator:
    """A running bochs, as `kvmabi.lab.machine.emulator.Emulator`; a context manager that ends it.

    The kernel finds its job when it is up; none can be handed over later.
    """

    takes_jobs = False

    def __init__(self, machine: Machine, initramfs: bytes) -> None:
        with ExitStack() as passed_on:
            self.port, out = socket.socketpair()
            passed_on.enter_context(out)
            end, console = os.pipe()
            self.console = os.fdopen(end, "rb", buffering=0)
            passed_on.callback(os.close, console)
            cd = _in_memory(passed_on, "cd", cd_image(machine, initramfs))
            text = configuration(machine, cd=_path(cd), console=_path(console))
            own = _in_memory(passed_on, "bochsrc", text.encode())
            go = _in_memory(passed_on, "go", GO)
            words = [machine.backend.emulator.program, "-q", "-f", _path(own), "-rc", _path(go)]
            self._process = Process(words, [cd, console, own, go], out=out.fileno(), net=False)
        self.port.setblocking(False)
        os.set_blocking(end, False)
        if self._process.shares_net:
            sys.stderr.write(OPEN_SCREEN)

    @property
    def pid(self) -> int:
        """The emulator's process id."""
        return self._process.pid

    def how_it_ended(self) -> str:
        """Return how the emulator ended with what it said, or "" while it runs."""
        return self._process.how_it_ended()

    def close(self) -> None:
        """End the emulator; ending it twice is fine."""
        self._process.close()
        self.port.close()
        self.console.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _in_memory(passed_on: ExitStack, name: str, data: bytes) -> int:
    """Return the descriptor of a file that is nowhere but in memory."""
    file = passed_on.enter_context(os.fdopen(os.memfd_create(name), "wb"))
    file.write(data)
    file.flush()
    return file.fileno()
