"""How a kernel, and who reads its log, is told which case runs (`KVMABI_CASE_LOG`)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kvmabi.ioeventfd.case_log import CASE_LOG, MARK, CaseLog, thread_name
from kvmabi.ioeventfd.cases import all_cases

COMM = Path("/proc/thread-self/comm")


def told(case_id: str) -> str:
    """Tell of a case from a thread of its own, and return that thread's name then."""
    names: list[str] = []

    def play() -> None:
        CaseLog().starts(case_id)
        names.append(COMM.read_text().strip())

    thread = threading.Thread(target=play)
    thread.start()
    thread.join()
    return names[0]


def test_the_named_file_is_appended_to(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    monkeypatch.setenv(CASE_LOG, str(path))
    told("one")
    told("two")
    assert path.read_text() == f"before\n{MARK}one\n{MARK}two\n"


def test_the_thread_has_the_cases_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(CASE_LOG, str(tmp_path / "log"))
    assert told("one") == thread_name("one")
    assert told("two") == thread_name("two") != thread_name("one")


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_file_nothing_is_told(monkeypatch, value: str | None) -> None:
    monkeypatch.delenv(CASE_LOG, raising=False)
    if value is not None:
        monkeypatch.setenv(CASE_LOG, value)
    assert not told("one").startswith("case:")


def test_no_two_cases_share_a_name() -> None:
    ids = [case.id for case in all_cases()]
    names = {thread_name(each) for each in ids}
    assert len(names) == len(set(ids))
    assert max(map(len, names)) < 16  # TASK_COMM_LEN, with its NUL
