from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kvmabi.errors import KernelLost, LabUnavailable
from kvmabi.lab import session as module
from kvmabi.lab.frames import Frame, Kind, encode
from kvmabi.lab.session import Job, Session

READY = encode(Kind.READY, b'{"release": "6.1", "kvm": true, "problems": [], "tainted": 0}')
READY_WITH_PROBLEM = encode(
    Kind.READY,
    b'{"release": "6.1", "kvm": true, "problems": ["the module kvm_amd does not load"]}',
)
JOB = Job(["matrix"], {"A": "b"})


class FakeEmulator:
    """Plays what a test's function does with the machine's ends of the two lines."""

    def __init__(self, script: Callable[[socket.socket, socket.socket], None]) -> None:
        self.port, port = socket.socketpair()
        self.console, console = socket.socketpair()
        self.port.setblocking(False)
        self.console.setblocking(False)
        self.takes_jobs = True
        self.closed = False
        self._ended = ""
        self._thread = threading.Thread(target=self._run, args=(script, port, console))
        self._thread.start()

    def _run(self, script, port: socket.socket, console: socket.socket) -> None:
        with port, console, suppress(OSError):  # the session may be gone already
            script(port, console)
        self._ended = "exit status 0"

    def how_it_ended(self) -> str:
        return self._ended

    def close(self) -> None:
        self.closed = True
        self.port.close()
        self.console.close()
        self._thread.join()


def session_of(emulator: FakeEmulator, job: Job = JOB, **more: Any) -> Session:
    return Session(emulator, job, **{"deadline_s": 20, "boot_deadline_s": 20, **more})


def frames_of(emulator: FakeEmulator, **more: Any) -> tuple[list[Frame], str]:
    with session_of(emulator, **more) as session:
        return [frame for frame in session.frames() if frame is not None], session.console


def test_the_job_is_sent_once_the_kernel_is_ready(tmp_path: Path) -> None:
    got = []

    def script(port: socket.socket, console: socket.socket) -> None:
        console.sendall(b"[ 1.0] hello\r\n")
        port.sendall(READY)
        got.append(json.loads(port.makefile().readline()))
        port.sendall(encode(Kind.OUT, b"text") + encode(Kind.EXIT, b"{}"))
        port.recv(1)

    log = tmp_path / "log"
    emulator = FakeEmulator(script)
    frames, console = frames_of(emulator, log=log)
    (job,) = got
    assert (job["arguments"], job["environment"]) == (["matrix"], {"A": "b"})
    assert abs(job["now"] - time.time()) < 60
    assert frames == [Frame(Kind.OUT, b"text"), Frame(Kind.EXIT, b"{}")]
    assert emulator.closed
    assert "hello" in console
    assert b"hello\r\n" in log.read_bytes()


def test_a_machine_that_goes_down_is_lost_with_its_last_words() -> None:
    def script(port: socket.socket, console: socket.socket) -> None:
        port.sendall(READY)
        port.recv(1000)
        port.sendall(encode(Kind.OUT, b"before"))
        console.sendall(b"[ 1.0] kvmabi: case x\r\n[ 1.1] Kernel panic - not syncing\r\n")

    with pytest.raises(KernelLost, match=r"the machine went down[^;]*; .*\n  Kernel panic - not"):
        frames_of(FakeEmulator(script))


@pytest.mark.parametrize(
    ("name", "ready", "text"),
    [
        ("boot_deadline_s", False, "it was not up after"),
        ("silence_s", True, "nothing came from it for"),
        ("deadline_s", True, "the run was not over after"),
    ],
)
def test_every_wait_has_an_end(name: str, ready: bool, text: str) -> None:
    def script(port: socket.socket, _console: socket.socket) -> None:
        if ready:
            port.sendall(READY)
            port.recv(1000)
        port.recv(1)  # until the session gives up

    with pytest.raises(KernelLost, match=text):
        frames_of(FakeEmulator(script), **{name: 0.3})


@pytest.mark.parametrize(
    ("console", "text"),
    [
        ("VFS: Unable to mount root fs on unknown-block(0,0)", "it cannot take an initramfs"),
        ("Kernel panic - No working init found.", "it cannot run Python's program"),
        ("kvmabi: no virtio-serial port came up", "it has no virtio_pci"),
        ("kvmabi: no program may use I/O ports: Operation", "it lets no program use I/O ports"),
    ],
)
def test_a_kernel_that_lacks_something_is_told_plainly(console: str, text: str) -> None:
    def script(_port: socket.socket, line: socket.socket) -> None:
        line.sendall(f"[ 1.0] {console}\r\n".encode())

    with pytest.raises(LabUnavailable, match=f"this kernel cannot be tested: {text}"):
        frames_of(FakeEmulator(script))


def test_a_restored_kernel_gets_its_job_at_once() -> None:
    def script(port: socket.socket, _console: socket.socket) -> None:
        assert json.loads(port.makefile().readline())["arguments"] == ["matrix"]
        port.sendall(encode(Kind.EXIT, b"{}"))
        port.recv(1)

    emulator = FakeEmulator(script)
    with session_of(emulator, restored={}) as session:
        assert list(filter(None, session.frames())) == [Frame(Kind.EXIT, b"{}")]
        assert session.heard_anything


LONG = Job(["matrix"], modules={"kvm": bytes(3_000_000)})
"""More than a line holds before somebody reads."""


def test_a_job_that_is_longer_than_the_line_arrives_whole() -> None:
    got = []

    def script(port: socket.socket, _console: socket.socket) -> None:
        port.sendall(encode(Kind.OUT, b"early"))
        got.append(port.makefile().readline())
        port.sendall(encode(Kind.EXIT, b"{}"))
        port.recv(1)

    with session_of(FakeEmulator(script), LONG, restored={}) as session:
        frames = list(filter(None, session.frames()))
    assert [one.kind for one in frames] == [Kind.OUT, Kind.EXIT]
    assert len(json.loads(got[0])["modules"]["kvm"]) == 4_000_000


def test_a_kernel_that_does_not_read_its_job_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(module, "RESTORE_DEADLINE_S", 0.3)
    gone = threading.Event()
    emulator = FakeEmulator(lambda *_: gone.wait(20))
    with session_of(emulator, LONG, restored={}) as session:
        with pytest.raises(KernelLost, match="the snapshot did not answer"):
            list(session.frames())
        gone.set()


def test_an_emulator_that_ends_before_it_has_the_job_is_lost() -> None:
    emulator = FakeEmulator(lambda port, _console: port.recv(1000))
    with (
        session_of(emulator, LONG, restored={}) as session,
        pytest.raises(KernelLost, match="the machine went down"),
    ):
        list(session.frames())


def test_a_kernel_that_booted_with_its_job_gets_none() -> None:
    got = []

    def script(port: socket.socket, _console: socket.socket) -> None:
        port.sendall(READY)
        port.settimeout(0.3)
        with suppress(TimeoutError):
            got.append(port.recv(1))
        port.sendall(encode(Kind.EXIT, b"{}"))

    emulator = FakeEmulator(script)
    emulator.takes_jobs = False
    frames_of(emulator)
    assert got == []


def test_a_restored_kernel_that_says_nothing_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(module, "RESTORE_DEADLINE_S", 0.3)
    emulator = FakeEmulator(lambda port, _console: [port.recv(1000), port.recv(1)])
    with session_of(emulator, restored={}) as session:
        with pytest.raises(KernelLost, match="the snapshot did not answer"):
            list(session.frames())
        assert not session.heard_anything


def test_what_is_to_happen_before_the_job_happens_before_it() -> None:
    seen = []

    def script(port: socket.socket, _console: socket.socket) -> None:
        port.sendall(READY)
        port.recv(1000)
        seen.append("job")
        port.sendall(encode(Kind.EXIT, b"{}"))
        port.recv(1)

    emulator = FakeEmulator(script)
    with session_of(emulator, when_ready=lambda about: seen.append(about["release"])) as session:
        list(session.frames())
    assert seen == ["6.1", "job"]


def test_a_mute_kernel_gets_a_hint() -> None:
    with pytest.raises(KernelLost, match="CONFIG_SERIAL_8250_CONSOLE"):
        frames_of(FakeEmulator(lambda port, _console: port.recv(1)), boot_deadline_s=0.3)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (encode(Kind.TROUBLE, b"no port"), "no port"),
        (READY, ""),
        (READY_WITH_PROBLEM, "6.1 came up: the module kvm_amd does not load"),
        (
            encode(
                Kind.READY,
                b'{"release": "6.1", "kvm": false, "problems": ["the module kvm_amd: no"]}',
            ),
            "6.1 came up without /dev/kvm: the module kvm_amd: no",
        ),
    ],
)
def test_a_kernel_that_cannot_do_it_is_told(frame: bytes, text: str) -> None:
    def script(port: socket.socket, _console: socket.socket) -> None:
        port.sendall(frame)
        port.recv(1000)
        port.sendall(encode(Kind.EXIT, b"{}"))

    if text:
        with pytest.raises(LabUnavailable, match=text):
            frames_of(FakeEmulator(script))
    else:  # the control: a kernel that can
        assert len(frames_of(FakeEmulator(script))[0]) == 1


def test_what_came_damaged_is_counted_from_the_moment_when_the_kernel_was_ready() -> None:
    whole = encode(Kind.OUT, b"text")

    def script(port: socket.socket, _console: socket.socket) -> None:
        port.sendall(b"The emulator says hello.\n" + READY)
        port.recv(1000)
        port.sendall(whole[:-1] + b"?" + whole + encode(Kind.EXIT, b"{}"))
        port.recv(1)

    with session_of(FakeEmulator(script)) as session:
        frames = list(filter(None, session.frames()))
        assert [frame.kind for frame in frames] == [Kind.OUT, Kind.EXIT]
        assert session.damaged_bytes == len(whole)


def test_a_line_without_damage_says_so() -> None:
    def script(port: socket.socket, _console: socket.socket) -> None:
        port.sendall(b"The emulator says hello.\n" + READY)
        port.recv(1000)
        port.sendall(encode(Kind.EXIT, b"{}"))
        port.recv(1)

    with session_of(FakeEmulator(script)) as session:
        list(session.frames())
        assert session.damaged_bytes == 0


def test_a_kernel_that_comes_up_twice_was_lost() -> None:
    def script(port: socket.socket, _console: socket.socket) -> None:
        port.sendall(READY)
        port.recv(1000)
        port.sendall(READY)
        port.recv(1)

    with pytest.raises(KernelLost, match="it booted anew"):
        frames_of(FakeEmulator(script))
