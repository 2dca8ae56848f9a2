"""What every section of the probe is given."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from kvmabi.errors import KvmAbiError


class Skip(KvmAbiError):
    """A section has nothing to ask here; the message says why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What every section is given: where /proc, /sys and /dev hang, and how patient to be."""

    root: Path = Path("/")
    machine: str = field(default_factory=lambda: os.uname().machine)
    thorough: bool = False
    """Go to the bounds of what is measured, instead of stopping for time."""

    @property
    def device(self) -> str:
        """The path of the KVM device."""
        return str(self.root / "dev/kvm")

    @property
    def is_x86(self) -> bool:
        """Whether the questions that only x86 answers make sense."""
        return self.machine in ("x86_64", "amd64", "i686")
