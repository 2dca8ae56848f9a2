"""One bench: all that was measured, and where it ran."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from kvmabi.benching import qemu
from kvmabi.benching.rows import Row
from kvmabi.benching.turns import OURS, QEMU, Plan, Turns
from kvmabi.kvm import Host, System, describe_host

EMULATORS: Final = ("TCG", "Bochs", "bochs")
"""What CPU model or firmware say where the kernel itself runs in an emulator."""


@dataclass(slots=True)
class Bench:
    """All that was measured, and where."""

    host: Host
    tsc_khz: int
    plan: Plan
    load: tuple[float, float]
    """The load average of a minute, at the start and at the end."""
    qemu_version: str = ""
    sides: dict[str, dict[str, Row]] = field(default_factory=dict)
    interpreter: str = ""
    """Which Python served the exits: its speed is in the rows without an eventfd."""
    emulated: str = ""
    """What makes it look as if the kernel ran in an emulator; empty where nothing does."""

    def ns(self, cycles: float) -> float:
        """Cycles of the guest's time-stamp counter in nanoseconds."""
        return cycles * 1e6 / self.tsc_khz

    def ratio(self, name: str, side: str = OURS) -> float | None:
        """A row's cycles as a share of QEMU's; None where one has none."""
        ours, theirs = self.sides[side].get(name), self.sides.get(QEMU, {}).get(name)
        if ours is None or theirs is None or not ours.rounds or not theirs.rounds:
            return None
        reference = theirs.cycles()
        return ours.cycles() / reference if reference else None

    @property
    def void(self) -> list[str]:
        """The rows of ours in which writes were lost, or counted twice."""
        return [row.name for row in self.sides[OURS].values() if row.void]


def run_bench(plan: Plan, tell: Callable[[str], None]) -> Bench:
    """Measure; `tell` hears what is being done. Raises KvmUnavailable, ToolMissing, GuestError."""
    before = os.getloadavg()[0]
    version = qemu.version() if plan.against_qemu else ""
    host = describe_host()
    with System.open() as system:
        turns = Turns(system, plan, tell)
        for number in range(1, plan.rounds + 1):
            turns.take(f"round {number} of {plan.rounds}")
        khz = _tsc_khz(system)
    load = (before, os.getloadavg()[0])
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return Bench(host, khz, plan, load, version, turns.sides, python, why_emulated(host))


def _tsc_khz(system: System) -> int:
    with system.create_vm() as vm, vm.create_vcpu(0) as vcpu:
        return vcpu.tsc_khz()


def why_emulated(host: Host, root: Path = Path("/")) -> str:
    """What says that this kernel runs in an emulator; empty where nothing does."""
    said = [host.cpu_model]
    for name in ("sys_vendor", "bios_vendor", "product_name"):
        path = root / "sys/class/dmi/id" / name
        said += [path.read_text(errors="replace").strip()] if path.is_file() else []
    return next((text for text in said if any(one in text for one in EMULATORS)), "")


def to_json(bench: Bench) -> dict[str, Any]:
    """All figures, as one JSON object; cycles are without what measuring takes."""
    return {
        "type": "bench",
        "schema": 1,
        "host": asdict(bench.host),
        "emulated": bench.emulated,
        "tsc_khz": bench.tsc_khz,
        "tsc_source": "KVM_GET_TSC_KHZ",
        "load": list(bench.load),
        "qemu": bench.qemu_version,
        "python": bench.interpreter,
        "plan": asdict(bench.plan),
        "sides": {
            side: {row.name: _row_json(bench, side, row) for row in rows.values()}
            for side, rows in bench.sides.items()
        },
    }


def _row_json(bench: Bench, side: str, row: Row) -> dict[str, Any]:
    if row.skipped:
        return {"skipped": row.skipped}
    return {
        "cycles": row.cycles(),
        "ns": round(bench.ns(row.cycles()), 1),
        "least": row.cycles("least"),
        "p99": row.cycles("p99"),
        "mean": row.cycles("mean"),
        "spread": round(row.spread, 4),
        "noisy": row.noisy,
        "how": row.how,
        "void": row.void,
        "ratio_to_qemu": bench.ratio(row.name, side) if side != QEMU else None,
        "rounds": [asdict(one) for one in row.rounds],
    }
