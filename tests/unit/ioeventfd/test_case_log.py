"""The file that gets each case's id as it starts (`KVMABI_CASE_LOG`)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmabi.ioeventfd.worker import CASE_LOG, open_case_log
from kvmabi.lab.commands.run import CASE_LOG as OF_THE_LAB
from kvmabi.lab.klog import MARK


def test_the_named_file_is_appended_to(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    monkeypatch.setenv(CASE_LOG, str(path))
    fd = open_case_log()
    os.write(fd, b"after\n")
    os.close(fd)
    assert path.read_text() == "before\nafter\n"


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_name_there_is_no_log(monkeypatch, value: str | None) -> None:
    monkeypatch.delenv(CASE_LOG, raising=False)
    if value is not None:
        monkeypatch.setenv(CASE_LOG, value)
    assert open_case_log() == -1


def test_the_lab_names_it_and_reads_its_marks() -> None:
    import inspect

    from kvmabi.ioeventfd import worker

    assert set(OF_THE_LAB) == {CASE_LOG}
    assert MARK in inspect.getsource(worker)
