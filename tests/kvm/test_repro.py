"""One case played alone, in a process that may hang or be lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from kvmabi.errors import KvmAbiError, KvmUnavailable
from kvmabi.ioeventfd import promises, repro
from kvmabi.ioeventfd.compare import Disagreement
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.repro import repro_apart
from kvmabi.ioeventfd.rig import Rig
from kvmabi.ioeventfd.select import find
from kvmabi.ioeventfd.steps import Case

pytestmark = pytest.mark.kvm
KERNEL = Kernel(0x1F, "test")
CASE = find("match-mmio-len4-equal-w4-up4-write")


def play_instead(monkeypatch: pytest.MonkeyPatch, deed: object) -> None:
    class Player:
        def __init__(self, case: Case, rig: Rig, kernel: Kernel, trace: repro.Trace) -> None:
            self._trace = trace

        def play(self) -> list[object]:
            self._trace("the last line")
            assert callable(deed)
            deed()
            return []

    monkeypatch.setattr(repro, "Player", Player)


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_a_case_that_agrees_is_told_line_by_line() -> None:
    lines: list[str] = []
    assert repro_apart(CASE, KERNEL, lines.append)
    assert lines[0] == CASE.id
    assert lines[-1] == "all as promised"
    assert any("-> 0" in line for line in lines)


@pytest.mark.parametrize("why", ["", "since 1.0"])
def test_what_is_known_of_a_kernel_counts_as_agreed(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    found = Disagreement(CASE.id, promises.EXIT, "an exit", "no exit")

    class Player:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def play(self) -> list[Disagreement]:
            return [found]

    monkeypatch.setattr(repro, "Player", Player)
    lines: list[str] = []
    agreed = repro_apart(CASE, KERNEL, lines.append, lambda all_of_it: why * (all_of_it == [found]))
    assert agreed is bool(why)
    assert "  seen:     no exit" in lines
    assert (lines[-1] == f"known: {why}") is bool(why)


def test_a_case_that_hangs_breaks_its_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repro, "deadline_s", lambda _case: 0.5)
    play_instead(monkeypatch, lambda: time.sleep(1000))
    lines: list[str] = []
    before = children()
    assert not repro_apart(CASE, KERNEL, lines.append)
    assert "  the last line" in lines
    assert f"  promise {promises.RETURN}: {promises.PROMISES[promises.RETURN]}" in lines
    assert children() == before


def test_a_case_that_kills_its_process_is_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    play_instead(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(KvmAbiError, match=f"{CASE.id} was lost: signal 9"):
        repro_apart(CASE, KERNEL, lambda _line: None)


def test_an_error_in_there_keeps_its_text_and_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise KvmUnavailable("gone")

    play_instead(monkeypatch, refuse)
    with pytest.raises(KvmAbiError, match=r"^gone$") as caught:
        repro_apart(CASE, KERNEL, lambda _line: None)
    assert caught.value.exit_code == KvmUnavailable.exit_code


def test_who_stops_listening_leaves_no_process() -> None:
    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    before = children()
    with pytest.raises(KeyboardInterrupt):
        repro_apart(CASE, KERNEL, stop)
    assert children() == before
