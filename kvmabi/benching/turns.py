"""The sides of a bench, which take turns: ours, QEMU's, and a loop in C on our machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from kvmabi.benching import machine, qemu
from kvmabi.benching.cloop import ROWS as C_ROWS
from kvmabi.benching.cloop import make_c_loop
from kvmabi.benching.extra import extra_rows
from kvmabi.benching.rows import OVERHEAD, PLAIN_ROWS, TESTDEV_ROWS, VMCALL, Measured, Row, merge
from kvmabi.errors import GuestError
from kvmabi.kvm import System
from kvmabi.vmm.pc.loop import serve_exits
from kvmabi.vmm.pc.machine import Loop

OURS: Final = "kvmabi"
QEMU: Final = "qemu"
C_LOOP: Final = "C loop"
DEADLINE_S: Final = 120.0
"""For a thousand operations of each row."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    rounds: int
    samples: int
    warmup: int
    against_qemu: bool
    extra: bool

    @property
    def deadline_s(self) -> float:
        """How long one run of the guest may take: a hundred times what it needs, if all is well."""
        return DEADLINE_S * max(1.0, (self.samples + self.warmup) / 1000)

    def words(self, *rows: str) -> str:
        """The guest's command line for these rows."""
        return " ".join((f"samples={self.samples}", f"warmup={self.warmup}", *rows))


def _with_overheads(first: list[str], *others: str) -> list[str]:
    """These rows, with what measuring takes measured before, between and behind them."""
    between = [name for other in others for name in (OVERHEAD, other)]
    return [OVERHEAD, *first, *between, OVERHEAD]


class Turns:
    """All that the sides have measured so far, in `sides`; each `take` is a round more.

    `tell` hears whose turn it is.
    """

    def __init__(self, system: System, plan: Plan, tell: Callable[[str], None]) -> None:
        self._system, self._plan, self._tell = system, plan, tell
        self._ours: dict[str, Row] = {}
        self.sides: dict[str, dict[str, Row]] = {OURS: self._ours}
        tell("vmcall: does it return?")
        no_vmcall = machine.why_no_vmcall(system)
        if no_vmcall:
            self._ours[VMCALL] = Row(VMCALL, skipped=no_vmcall)
        vmcall = () if no_vmcall else (VMCALL,)
        self._words = plan.words(*_with_overheads([*vmcall, *PLAIN_ROWS], *TESTDEV_ROWS))
        self._c = make_c_loop()
        self._turns: dict[str, Callable[[], None]] = {OURS: self._run_ours}
        if plan.against_qemu:
            self._turns[QEMU] = self._run_qemu
        if self._c:
            self._turns[C_LOOP] = self._run_c_loop
        if plan.extra:
            self._turns[f"{OURS}, beyond the series"] = self._run_extra

    def take(self, which: str) -> None:
        """Have each side take its turn; `which` names the round."""
        for side, run in self._turns.items():
            self._tell(f"{which}: {side}")
            run()

    def _add(self, side: str, measured: list[Measured]) -> None:
        rows = self.sides.setdefault(side, {})
        merge(rows, measured, counts_signals=side != QEMU)

    def _run_ours(self) -> None:
        how: dict[str, str] = {}
        self._add(OURS, self._run_standard(self._words, how))
        for name, way in how.items():
            self._ours[name].how = way

    def _run_standard(
        self, words: str, how: dict[str, str], loop: Loop = serve_exits
    ) -> list[Measured]:
        return machine.run_standard(self._system, words, how, self._plan.deadline_s, loop)

    def _run_extra(self) -> None:
        words, deadline_s = self._plan.words(OVERHEAD), self._plan.deadline_s
        rows = extra_rows()
        for cpus in (1, 2):  # a second CPU is never idle again, once it is started
            now = [row for row in rows if row.cpus == cpus]
            self._add(OURS, machine.run_extra(self._system, words, now, deadline_s))

    def _run_qemu(self) -> None:
        self._add(QEMU, qemu.run_qemu(self._words, self._plan.deadline_s))

    def _run_c_loop(self) -> None:
        if self._c is None:
            return
        loop, counts = self._c
        before = counts()
        words = self._plan.words(*_with_overheads([], *TESTDEV_ROWS))
        measured = self._run_standard(words, {}, loop)
        rows = [one for one in measured if one.name in (OVERHEAD, *C_ROWS)]
        made = [one.made for one in rows if one.name in C_ROWS]
        counted = [now - then for now, then in zip(counts(), before, strict=True)]
        if counted != made:
            raise GuestError(f"the C loop counted {counted} writes of {made}")
        # the device has not seen any of them
        self._add(C_LOOP, [replace(one, count=None, exits=None, signals=None) for one in rows])
