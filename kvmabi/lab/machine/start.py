"""Which emulator plays a back end: its version, and its start."""

from __future__ import annotations

from kvmabi.lab.archive import Entry
from kvmabi.lab.backends import BOCHS, Backend
from kvmabi.lab.inside.port import JOB_FILE
from kvmabi.lab.machine import bochs, qemu
from kvmabi.lab.machine.emulator import Emulator, Machine, check_tools
from kvmabi.lab.rootfs import cpio


def version(backend: Backend) -> str:
    """Return what the back end's emulator says of itself.

    Raises LabUnavailable, with the command that installs it, where it or a file of its is missing.
    """
    check_tools(backend)
    version_of = bochs.version if backend.emulator is BOCHS else qemu.version
    return version_of(backend.emulator.program)


def boot(machine: Machine, initramfs: bytes, job: bytes) -> Emulator:
    """Return the machine, as it boots; `job` is what a session would hand over (`Job.line`)."""
    if not machine.backend.emulator.carrier.both_ways:
        initramfs += cpio.archive([Entry(JOB_FILE, 0o644, job)])
    if machine.backend.emulator is BOCHS:
        return bochs.Emulator(machine, initramfs)
    return qemu.Emulator(machine, initramfs)
