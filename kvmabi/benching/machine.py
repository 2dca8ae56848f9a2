"""The bench guest on our own machine."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kvmabi.benching.extra import ROW_PORT, ROW_PORTS, Extra, Extras
from kvmabi.benching.rows import Measured, parse
from kvmabi.errors import GuestError, GuestTimeout
from kvmabi.guest import bench_image
from kvmabi.kvm import System
from kvmabi.vmm.pc import PcConfig, PcMachine
from kvmabi.vmm.pc.loop import serve_exits
from kvmabi.vmm.pc.machine import Loop

if TYPE_CHECKING:
    from kvmabi.vmm.doorbell import Registration
    from kvmabi.vmm.testdev import TestBar

VMCALL_DEADLINE_S: Final = 2.0
NAME: Final = "bench"


def run_standard(
    system: System, words: str, how: dict[str, str], deadline_s: float, loop: Loop = serve_exits
) -> list[Measured]:
    """The rows of these words; `how` gets how the pv tests were registered, by row."""
    said = bytearray()
    totals: dict[str, tuple[int, int]] = {}
    with PcMachine(system, bench_image(), PcConfig(name=NAME, append=words), said.extend) as pc:
        _listen(pc.testdev.memory, "pci-mem", how, totals)
        _listen(pc.testdev.io, "pci-io", how, totals)
        pc.run(deadline_s, loop)
    return [_with_totals(one, totals) for one in parse(said.decode("ascii", "replace"))]


def _listen(
    bar: TestBar, name: str, how: dict[str, str], totals: dict[str, tuple[int, int]]
) -> None:
    """Have `how` and `totals` filled, by row, as the guest goes through this BAR's tests."""

    def started(test: str, registrations: list[Registration]) -> None:
        how.update({f"{test}:{name}": one.how for one in registrations if one.doorbell.pv})

    def ended(test: str, exits: int, signals: int) -> None:
        totals[f"{test}:{name}"] = exits, signals

    bar.started, bar.ended = started, ended


def _with_totals(one: Measured, totals: dict[str, tuple[int, int]]) -> Measured:
    if one.count is None:
        return one
    if one.name not in totals:
        raise GuestError(f"the guest gives a row {one.name!r}, which was not run")
    exits, signals = totals[one.name]
    return replace(one, exits=exits, signals=signals)


def why_no_vmcall(system: System) -> str:
    """Why the guest's hypercall cannot be measured here; empty where it can."""
    said = bytearray()
    config = PcConfig(name=NAME, append="samples=1 warmup=1 vmcall")
    with PcMachine(system, bench_image(), config, said.extend) as pc:
        try:
            pc.run(VMCALL_DEADLINE_S)
        except GuestTimeout:
            return f"it does not return from KVM_RUN within {VMCALL_DEADLINE_S:g} s"
    return ""


def run_extra(system: System, words: str, extras: list[Extra], deadline_s: float) -> list[Measured]:
    """The row of these words, and the extra rows, each with what has counted its writes."""
    words = " ".join([words, *(one.word for one in extras)])
    said = bytearray()
    config = PcConfig(cpus=max(one.cpus for one in extras), name=NAME, append=words)
    with ExitStack() as stack:
        pc = stack.enter_context(PcMachine(system, bench_image(), config, said.extend))
        players = stack.enter_context(Extras(pc, extras, first_row=1))
        pc.pio.attach(ROW_PORT, ROW_PORTS, players)
        pc.run(deadline_s)
        overhead, *rows = parse(said.decode("ascii", "replace"))
        return [overhead, *players.counted(rows)]
