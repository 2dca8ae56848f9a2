"""The first process of the kernel under test, as far as it can be had without one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from kvmabi.lab.frames import Decoder, Kind
from kvmabi.lab.inside import init
from kvmabi.lab.inside.files import pack, unpack

JOB = {"arguments": ["verb"], "environment": {}}


class FakePort:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def send(self, data: bytes) -> None:
        self.sent += data

    def of(self, kind: Kind) -> bytes:
        return b"".join(one.payload for one in Decoder().feed(self.sent) if one.kind is kind)


@pytest.fixture
def kmsg(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The writing end of a log in the place of the kernel's."""
    read, write = os.pipe()
    monkeypatch.setattr(init, "KMSG", f"/proc/self/fd/{read}")
    yield write
    os.close(read)
    os.close(write)


def ran(monkeypatch: pytest.MonkeyPatch, verb: Callable[[Sequence[str]], int]) -> tuple:
    monkeypatch.setattr(init, "_verb_main", lambda: verb)
    port = FakePort()
    started = time.monotonic()
    ended = init.Runner(port, JOB).run()  # type: ignore[arg-type]
    return ended, port, time.monotonic() - started


def test_all_that_the_verb_and_the_log_say_is_passed_on(kmsg: int, monkeypatch) -> None:
    def verb(words: Sequence[str]) -> int:
        os.write(kmsg, b"6,1,2,-;from the kernel\n")
        os.write(1, b"out" * 100_000)
        os.write(2, " ".join(words).encode())
        return 3

    ended, port, _ = ran(monkeypatch, verb)
    assert (ended["exit"], ended["log_overrun"]) == (3, 0)
    assert port.of(Kind.OUT) == b"out" * 100_000
    assert port.of(Kind.ERR) == b"verb"
    assert port.of(Kind.LOG) == b"6,1,2,-;from the kernel\n"


@pytest.mark.usefixtures("kmsg")
def test_a_worker_that_is_stuck_does_not_hold_up_the_end(monkeypatch, tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def verb(_words: Sequence[str]) -> int:
        worker = os.fork()
        if worker == 0:
            time.sleep(60)
            os._exit(0)
        note.write_text(str(worker))
        os.write(1, b"the last word")
        return 1

    try:
        ended, port, seconds = ran(monkeypatch, verb)
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(note.read_text()), signal.SIGKILL)
    assert ended["exit"] == 1
    assert port.of(Kind.OUT) == b"the last word"
    assert seconds < 30


def test_messages_that_were_overwritten_are_counted(kmsg: int, monkeypatch) -> None:
    read = os.read
    failed = []

    def overrun_once(fd: int, size: int) -> bytes:
        if size == init.MESSAGE_BYTES and not failed:
            failed.append(fd)
            raise BrokenPipeError
        return read(fd, size)

    def verb(_words: Sequence[str]) -> int:
        os.write(kmsg, b"6,9,2,-;what is left\n")
        return 0

    monkeypatch.setattr(os, "read", overrun_once)
    ended, port, _ = ran(monkeypatch, verb)
    assert ended["log_overrun"] == 1
    assert port.of(Kind.LOG) == b"6,9,2,-;what is left\n"


def test_files_arrive_as_they_were(tmp_path: Path) -> None:
    files = {"0-a": bytes(range(256)), "1-b": b""}
    unpack(pack(files), tmp_path / "files")
    assert {one.name: one.read_bytes() for one in (tmp_path / "files").iterdir()} == files
