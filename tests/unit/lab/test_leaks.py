from __future__ import annotations

from pathlib import Path

import pytest

from kvmabi.lab.inside.leaks import AGE_S, DISABLED, Kmemleak, as_messages
from kvmabi.lab.klog import LogReader

OBJECT = """\
unreferenced object 0xffff888003a5c3c0 (size 64):
  comm "python3", pid 71, jiffies 4294898223
  backtrace:
    [<0>] kvm_assign_ioeventfd_idx+0x5c/0x1d0 [kvm]
"""


class Recorded(Kmemleak):
    """Keeps what is asked of the kernel, which answers from a file."""

    def __init__(self, file: Path) -> None:
        self.did: list[str] = []
        super().__init__(file, lambda seconds: self.did.append(f"sleep {seconds}"))

    def _command(self, text: str) -> None:
        self.did.append(text)


def test_leaks_of_before_are_forgotten_and_later_ones_told(tmp_path: Path) -> None:
    (tmp_path / "kmemleak").write_text(OBJECT)
    one = Recorded(tmp_path / "kmemleak")
    one.start()
    assert one.report() == OBJECT.splitlines()
    assert one.did == ["scan", "scan", "clear", f"sleep {AGE_S}", "scan", "scan"]


def test_where_nothing_has_leaked_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "kmemleak").write_text("")
    assert Recorded(tmp_path / "kmemleak").report() == []


def test_a_kernel_without_kmemleak_costs_no_time(tmp_path: Path) -> None:
    one = Recorded(tmp_path / "kmemleak")
    one.start()
    assert one.report() == []
    assert f"sleep {AGE_S}" not in one.did
    assert one.about == ""


def test_one_that_is_switched_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kmemleak").write_text("")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    slept: list[float] = []
    one = Kmemleak(tmp_path / "kmemleak", slept.append)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        one.start()
    assert one.about == DISABLED
    assert one.report() == []
    assert slept == []


def test_commands_reach_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "kmemleak").write_text("")
    Kmemleak(tmp_path / "kmemleak").start()
    assert (tmp_path / "kmemleak").read_text() == "clear"


def test_each_object_that_leaked_is_a_finding_of_the_log() -> None:
    reader = LogReader()
    reader.message("kvmabi: case one")
    reader.message("kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)")
    other = OBJECT.replace("python3", 'case:"quoted"')
    reader.kmsg(as_messages([*OBJECT.splitlines(), *other.splitlines()]))
    first, second = reader.findings
    assert (first.case, first.thread) == ("one", "python3")
    assert first.lines == OBJECT.splitlines()
    assert (second.case, second.thread) == ("one", 'case:"quoted"')
    assert second.lines == other.splitlines()
