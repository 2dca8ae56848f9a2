from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from kvmabi.errors import KernelLost
from kvmabi.lab import cache
from kvmabi.lab.backends import backend
from kvmabi.lab.machine import qemu, qmp, snapshot
from kvmabi.lab.machine.emulator import Machine
from kvmabi.lab.machine.qmp import Monitor
from kvmabi.lab.machine.snapshot import KEPT, Snapshot


class FakeQemu:
    """Answers QMP commands; `answers` gives a command's successive results, or an error's text."""

    def __init__(self, **answers: list[object]) -> None:
        self.ours, theirs = socket.socketpair()
        self.seen: list[str] = []
        self.got_fds: list[int] = []
        self._answers = answers
        self._thread = threading.Thread(target=self._run, args=(theirs,))
        self._thread.start()

    def _run(self, line: socket.socket) -> None:
        with line:
            line.sendall(b'{"QMP": {}}\n')
            while True:
                data, fds, _, _ = socket.recv_fds(line, 4096, 4)
                if not data:
                    return
                self.got_fds += fds
                name = json.loads(data)["execute"].replace("-", "_")
                self.seen.append(name)
                answer = (self._answers.get(name) or [{}]).pop(0)
                line.sendall(b'{"event": "SOMETHING"}\n')
                if isinstance(answer, str):
                    line.sendall(json.dumps({"error": {"desc": answer}}).encode() + b"\n")
                else:
                    line.sendall(json.dumps({"return": answer}).encode() + b"\n")

    def close(self) -> None:
        with suppress(OSError):
            self.ours.shutdown(socket.SHUT_RDWR)
        self.ours.close()
        self._thread.join()
        for fd in self.got_fds:
            os.close(fd)


@pytest.fixture
def fake():
    made: list[FakeQemu] = []

    def make(**answers: list[object]) -> FakeQemu:
        made.append(FakeQemu(**answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def emulator(line: FakeQemu) -> qemu.Emulator:
    class Emulator:
        def monitor(self) -> Monitor:
            return Monitor(line.ours)

    return Emulator()  # type: ignore[return-value]


def test_a_state_goes_to_the_file_that_is_handed_over(fake, tmp_path: Path) -> None:
    line = fake(query_migrate=[{"status": "active"}, {"status": "completed"}])
    kept = Snapshot(tmp_path / "x.state")
    assert kept.about is None
    kept.save(emulator(line), {"release": "6.1"})
    assert kept.about == {"release": "6.1"}
    assert line.seen[-2:] == ["query_migrate", "cont"]
    assert "stop" not in line.seen
    assert len(line.got_fds) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.state"]


@pytest.mark.parametrize(
    "answers",
    [{"migrate": ["State blocked"]}, {"query_migrate": [{"status": "failed"}, {}]}],
)
def test_a_state_that_cannot_be_kept_leaves_nothing(fake, tmp_path: Path, answers) -> None:
    kept = Snapshot(tmp_path / "x.state")
    kept.save(emulator(fake(**answers)), {})
    assert kept.about is None
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_takes_too_long_is_given_up_and_the_machine_runs_on(
    fake, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(qmp, "SAVE_DEADLINE_S", -1.0)
    line = fake(query_migrate=[{"status": "active"}, {"status": "cancelled"}])
    kept = Snapshot(tmp_path / "x.state")
    kept.save(emulator(line), {})
    assert line.seen[-4:] == ["query_migrate", "migrate_cancel", "query_migrate", "cont"]
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_takes_no_file_is_no_failure(tmp_path: Path) -> None:
    class Unasked:
        """The emulator is not even asked."""

    kept = Snapshot(tmp_path / "missing" / "x.state")
    kept.save(Unasked(), {})  # type: ignore[arg-type]
    assert kept.about is None


def test_an_emulator_that_goes_away_is_told(fake) -> None:
    line = fake()
    with closing(Monitor(line.ours)) as monitor:
        line.ours.shutdown(socket.SHUT_RDWR)
        with pytest.raises(KernelLost, match="emulator"):
            monitor.run("stop")


def test_the_longest_unused_are_forgotten(fake, tmp_path: Path) -> None:
    for at in range(KEPT + 2):
        path = tmp_path / f"{at}.state"
        path.touch()
        path.with_suffix(".json").write_text("{}")
        os.utime(path, (at, at))
    cache.used(tmp_path / "0.state")
    Snapshot(tmp_path / "new.state").save(
        emulator(fake(query_migrate=[{"status": "completed"}])), {}
    )
    left = sorted(path.stem for path in tmp_path.glob("*.state"))
    assert left == ["0", "4", "5", "new"]
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == left


def test_a_damaged_note_is_no_snapshot(tmp_path: Path) -> None:
    kept = Snapshot(tmp_path / "x.state")
    kept.path.touch()
    (tmp_path / "x.json").write_text("{")
    assert kept.about is None
    (tmp_path / "x.json").write_text("{}")
    assert kept.about == {}
    kept.drop()
    assert kept.about is None


def test_whatever_differs_is_another_snapshot(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(b"one")
    machine = Machine(backend("svm"), kernel)
    first = snapshot.find(machine, b"initramfs", "QEMU 7")
    assert snapshot.find(machine, b"initramfs", "QEMU 7") == first
    others = [
        snapshot.find(machine, b"other", "QEMU 7"),
        snapshot.find(machine, b"initramfs", "QEMU 8"),
        snapshot.find(replace(machine, cpus=2), b"initramfs", "QEMU 7"),
    ]
    kernel.write_bytes(b"two")
    others.append(snapshot.find(machine, b"initramfs", "QEMU 7"))
    assert len({one.path for one in (first, *others)}) == 5
