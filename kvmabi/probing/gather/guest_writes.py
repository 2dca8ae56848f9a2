"""What a guest's write costs by kind: an exit, a signal, and whether a fast path shows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from kvmabi import uapi
from kvmabi.errors import KvmAbiError
from kvmabi.kvm import VM, System
from kvmabi.probing.gather.common import errno_name
from kvmabi.probing.gather.ioeventfd_costs import argument_of, eventfd, median
from kvmabi.probing.report import Json
from kvmabi.vmm import Access, ExerciserMachine

WRITES: Final = 64
"""Guest writes measured for each row of the costs."""
GUEST_DEADLINE_S: Final = 2.0
FAST_RATIO: Final = 0.7
"""An any-length MMIO signal below this part of a len-4 one is taken for the fast path: on VMX with
EPT it was a third, on SVM and without a fast path the two were equal."""


class _Row(NamedTuple):
    """A kind of guest write; `length` is None where nothing is registered."""

    name: str
    bus: str
    length: int | None
    flags: int = 0


_PIO: Final = uapi.KVM_IOEVENTFD_FLAG_PIO
_MATCH: Final = uapi.KVM_IOEVENTFD_FLAG_DATAMATCH
_ROWS: Final = (
    _Row("mmio exit", "mmio", None),
    _Row("mmio signal", "mmio", 4),
    _Row("mmio signal, datamatch", "mmio", 4, _MATCH),
    _Row("mmio signal, any-length", "mmio", 0),
    _Row("pio exit", "pio", None),
    _Row("pio signal", "pio", 4, _PIO),
    _Row("pio signal, any-length", "pio", 0, _PIO),
)
_DATA: Final = 0xFA


def guest_costs(system: System) -> Json:
    """Cycles of a guest's 4-byte write by kind, and what they say about a fast path.

    `reason` is not empty where a guest could not be run, or one of the kinds not measured.
    """
    rows: list[Json] = []
    reason, khz = "", 0
    try:
        with ExerciserMachine(system, boot_deadline_s=GUEST_DEADLINE_S) as machine:
            khz = _tsc_khz(system)
            for row in _ROWS:  # one by one: those before a failure count
                rows += [_measure(machine, row, khz)]
    except (KvmAbiError, OSError) as error:
        reason = str(error)
    return {"rows": rows, "tsc_khz": khz, "fast_path": _fast_path(rows), "reason": reason}


def _tsc_khz(system: System) -> int:
    with system.create_vm() as vm, vm.create_vcpu(0) as vcpu:
        try:
            return vcpu.call("KVM_GET_TSC_KHZ")
        except KvmAbiError:
            return 0


def _measure(machine: ExerciserMachine, row: _Row, khz: int) -> Json:
    address = machine.bar0_gpa + 0x800 if row.bus == "mmio" else machine.bar1_port + 0x80
    writes = [Access(row.bus, address, 4, data=_DATA)] * WRITES
    with eventfd() as fd, _registered(machine.vm, fd, row, address) as errno:
        if errno:
            return {"name": row.name, "bus": row.bus, "len": row.length, "errno": errno}
        batch = machine.perform(writes, deadline_s=GUEST_DEADLINE_S, timed=True)
        signals = _count(fd)
    cycles = sorted(outcome.cycles for outcome in batch.outcomes)
    return {
        "name": row.name,
        "bus": row.bus,
        "len": row.length,
        "errno": "",
        "writes": len(batch.outcomes),
        "signals": signals,
        "exits": len(batch.exits),
        "min_cycles": cycles[0],
        "median_cycles": median(cycles),
        "median_us": round(median(cycles) / khz * 1000, 3) if khz else None,
    }


@contextmanager
def _registered(vm: VM, fd: int, row: _Row, address: int) -> Iterator[str]:
    if row.length is None:
        yield ""
        return
    argument = argument_of(fd, address, row.length, row.flags)
    argument.datamatch = _DATA
    error = vm.try_ioeventfd(argument)
    yield errno_name(error)
    if not error:
        argument.flags |= uapi.KVM_IOEVENTFD_FLAG_DEASSIGN
        vm.ioeventfd(argument)


def _count(fd: int) -> int:
    os.set_blocking(fd, False)
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def _fast_path(rows: Sequence[Json]) -> Json:
    """What the costs say: "yes", "no", or "unknown"; the ratio is any-length against len 4."""
    cycles = {row["name"]: row["min_cycles"] for row in rows if row.get("signals")}
    ordinary, any_length = cycles.get("mmio signal"), cycles.get("mmio signal, any-length")
    if not ordinary or not any_length:
        return {"verdict": "unknown", "ratio": None}
    ratio = any_length / ordinary
    return {"verdict": "yes" if ratio < FAST_RATIO else "no", "ratio": round(ratio, 3)}
