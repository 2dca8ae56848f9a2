"""Machines that have booted, kept: the next run of the same kernel starts where that one was ready.

A snapshot's name is made from all that decides what it holds: the emulator, its command, the
kernel and the initramfs. The few that were used last are kept.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kvmabi.errors import KernelLost
from kvmabi.lab import cache
from kvmabi.lab.machine import qemu
from kvmabi.lab.machine.emulator import Machine

KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One place in the cache, which may be empty."""

    path: Path

    @property
    def about(self) -> dict[str, Any] | None:
        """What the kernel told of itself when it was ready; None where there is no snapshot."""
        try:
            found: dict[str, Any] = json.loads(self._note.read_text())
        except (OSError, ValueError):
            return None
        return found if self.path.is_file() else None

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".json")

    def save(self, emulator: qemu.Emulator, about: Mapping[str, Any]) -> None:
        """Keep the machine as it is now, and forget the snapshots that were not used for longest.

        A state that cannot be kept is no failure of the run: the next one boots again.
        """
        try:
            self._save(emulator, about)
        except (KernelLost, OSError):
            with suppress(OSError):
                self.drop()

    def _save(self, emulator: qemu.Emulator, about: Mapping[str, Any]) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb"), closing(emulator.monitor()) as monitor:
                monitor.save_state(handle)
            Path(name).replace(self.path)
            cache.publish(self._note, json.dumps(dict(about)).encode())
        finally:
            Path(name).unlink(missing_ok=True)
        self._forget_old()

    def drop(self) -> None:
        """Forget the snapshot."""
        for path in (self._note, self.path):
            path.unlink(missing_ok=True)

    def _forget_old(self) -> None:
        for path in cache.unused(self.path.parent, "*.state", KEPT):
            Snapshot(path).drop()


def find(machine: Machine, initramfs: bytes, emulator_version: str) -> Snapshot:
    """Return the place of the snapshot of this machine with this initramfs."""
    words = qemu.command(machine, qemu.Lines(initrd="", port=0, console=0, monitor=0))
    name = cache.digest(
        emulator_version, *words, cache.file_sha256(machine.kernel), cache.digest(initramfs)
    )
    return Snapshot(cache.folder("snapshots") / f"{name}.state")
