"""The sides of a bench take turns; none of them runs here."""

from __future__ import annotations

import pytest

from kvmabi.benching import turns
from kvmabi.benching.cloop import ROWS as C_ROWS
from kvmabi.benching.rows import OVERHEAD, Measured
from kvmabi.benching.turns import C_LOOP, OURS, QEMU, Plan, Turns
from kvmabi.errors import GuestError

MADE = 110
ROUNDS = 3


def row(name: str, median: int = 300) -> Measured:
    return Measured(name, median, MADE, 90, 200, 400, 500, 900, 333)


class Sides:
    """Stands for the machines: remembers who ran what, in which order."""

    def __init__(self, monkeypatch, no_vmcall: str = "", in_c: int = MADE) -> None:
        self.ran: list[tuple[str, str]] = []
        self._count, self._in_c = 0, in_c
        monkeypatch.setattr(turns.machine, "why_no_vmcall", lambda _: no_vmcall)
        monkeypatch.setattr(turns.machine, "run_standard", self._standard)
        monkeypatch.setattr(turns.machine, "run_extra", self._extra)
        monkeypatch.setattr(turns.qemu, "run_qemu", self._qemu)
        monkeypatch.setattr(turns, "make_c_loop", lambda: (self, lambda: (self._count,) * 2))

    def _standard(self, system, words, how, deadline_s, loop) -> list[Measured]:
        if loop is self:
            self._count += self._in_c
            self.ran.append((C_LOOP, words))
            return [row(name) for name in (OVERHEAD, *C_ROWS, "mmio-wildcard-eventfd:pci-mem")]
        self.ran.append((OURS, words))
        how["cpuid"] = "some-way"
        return [row(OVERHEAD, 100), row("cpuid")]

    def _extra(self, system, words, extras, deadline_s) -> list[Measured]:
        self.ran.append((f"extra, {extras[0].cpus}", words))
        return [row(OVERHEAD, 90), *(row(one.name) for one in extras)]

    def _qemu(self, words: str, deadline_s: float) -> list[Measured]:
        self.ran.append((QEMU, words))
        return [row(OVERHEAD, 100), row("cpuid", 400)]


def take(plan: Plan) -> Turns:
    taken = Turns(None, plan, lambda _: None)  # type: ignore[arg-type]
    for number in range(plan.rounds):
        taken.take(str(number))
    return taken


def test_all_sides_take_turns_round_by_round_with_the_same_words(monkeypatch) -> None:
    sides = Sides(monkeypatch)
    taken = take(Plan(ROUNDS, 100, 10, against_qemu=True, extra=True))
    order = [OURS, QEMU, C_LOOP, "extra, 1", "extra, 2"]
    assert [side for side, _ in sides.ran] == order * ROUNDS
    words = {side: {said for who, said in sides.ran if who == side} for side in order}
    assert words[OURS] == words[QEMU]
    assert all(len(said) == 1 for said in words.values())
    assert {len(one.rounds) for one in taken.sides[QEMU].values()} == {ROUNDS}
    assert taken.sides[OURS]["cpuid"].how == "some-way"


def test_what_measuring_takes_is_measured_all_along(monkeypatch) -> None:
    sides = Sides(monkeypatch)
    take(Plan(1, 100, 10, against_qemu=False, extra=False))
    for _, words in sides.ran:
        rows = words.split()[2:]
        assert rows[0] == rows[-1] == OVERHEAD
        assert rows[rows.index("pci-mem") - 1] == rows[rows.index("pci-io") - 1] == OVERHEAD


def test_what_measuring_takes_is_the_least_of_all_runs_of_a_side(monkeypatch) -> None:
    Sides(monkeypatch)
    taken = take(Plan(1, 100, 10, against_qemu=True, extra=True))
    assert taken.sides[OURS]["cpuid"].cycles() == 300 - 90
    assert taken.sides[QEMU]["cpuid"].cycles() == 400 - 100


def test_the_c_loop_has_only_the_rows_that_it_serves(monkeypatch) -> None:
    Sides(monkeypatch)
    taken = take(Plan(ROUNDS, 100, 10, against_qemu=False, extra=False))
    assert set(taken.sides) == {OURS, C_LOOP}
    assert set(taken.sides[C_LOOP]) == {OVERHEAD, *C_ROWS}


def test_a_c_loop_that_counts_wrongly_is_an_error(monkeypatch) -> None:
    Sides(monkeypatch, in_c=MADE - 1)
    with pytest.raises(GuestError, match=r"counted \[109, 109\] writes of \[110, 110\]"):
        take(Plan(1, 100, 10, against_qemu=False, extra=False))


@pytest.mark.parametrize(("reason", "asked"), [("", True), ("it hangs", False)])
def test_a_hypercall_that_does_not_return_is_not_asked_for(
    monkeypatch, reason: str, asked: bool
) -> None:
    sides = Sides(monkeypatch, reason)
    taken = take(Plan(1, 100, 10, against_qemu=True, extra=False))
    assert all(("vmcall" in words.split()) is asked for side, words in sides.ran if side != C_LOOP)
    assert ("vmcall" in taken.sides[OURS]) is not asked
