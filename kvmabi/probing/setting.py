"""What every section of the probe is given."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kvmabi import arch
from kvmabi.errors import KvmAbiError

if TYPE_CHECKING:
    from kvmabi.abi.facts import Facts
    from kvmabi.abi.sides import Side  # a kernel under test need not load what reads headers


class Skip(KvmAbiError):
    """A section has nothing to ask here; the message says why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What every section is given: where /proc, /sys and /dev hang, and how patient to be."""

    root: Path = Path("/")
    machine: str = field(default_factory=lambda: os.uname().machine)
    thorough: bool = False
    """Go to the bounds of what is measured, instead of stopping for time."""
    headers: Side | None = None
    """The headers that names and valid flags come from, where not from the built-in ABI."""

    @property
    def facts(self) -> Facts | None:
        """What those headers say of this host's architecture."""
        return self.headers.facts[arch.host().name] if self.headers else None

    @property
    def device(self) -> str:
        """The path of the KVM device."""
        return str(self.root / "dev/kvm")

    @property
    def is_x86(self) -> bool:
        """Whether the questions that only x86 answers make sense."""
        return self.machine in ("x86_64", "amd64", "i686")
