"""What becomes of cases whose worker dies, hangs or stumbles, and of a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kvmabi.errors import KvmAbiError, KvmUnavailable
from kvmabi.ioeventfd import play as play_module
from kvmabi.ioeventfd import promises, run, worker
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.rig import Rig
from kvmabi.ioeventfd.run import Supervisor, costly_first
from kvmabi.ioeventfd.select import select
from kvmabi.ioeventfd.steps import Case
from kvmabi.ioeventfd.worker import Report
from kvmabi.kvm import System

pytestmark = pytest.mark.kvm
TOP = Path(__file__).parents[2]
KERNEL = Kernel(0x1F, "test")
CASES = select(["match-*-len4-any-w4-*"])
ODD_ONE = CASES[7].id


def play_all(jobs: int = 4) -> dict[str, Report]:
    reports = [each for batch in Supervisor(CASES, KERNEL, jobs=jobs).run() for each in batch]
    assert sorted(report.number for report in reports) == list(range(len(CASES)))
    return {CASES[report.number].id: report for report in reports}


def meddle(monkeypatch: pytest.MonkeyPatch, deed: object) -> None:
    """Have workers call `deed` instead of playing the odd one."""

    def play(case: Case, rig: Rig, kernel: Kernel) -> play_module.Played:
        if case.id == ODD_ONE:
            assert callable(deed)
            deed()
        return play_module.play(case, rig, kernel)

    monkeypatch.setattr(worker, "play", play)


def assert_the_rest_is_sound(reports: dict[str, Report]) -> None:
    odd = {case_id for case_id, report in reports.items() if report.error or report.disagreements}
    assert odd == {ODD_ONE}


def test_undisturbed_all_is_sound() -> None:
    assert [each for each in play_all().values() if each.error or each.disagreements] == []


def test_a_case_that_kills_its_worker_is_lost_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    meddle(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    reports = play_all(jobs=1)
    assert_the_rest_is_sound(reports)
    assert reports[ODD_ONE].error == "the worker process was lost 2 times in this case: signal 9"


def play_odd(monkeypatch: pytest.MonkeyPatch, deed: Callable[[Case], None]) -> None:
    """Have workers call `deed` before each case."""

    def play(case: Case, rig: Rig, kernel: Kernel) -> play_module.Played:
        deed(case)
        return play_module.play(case, rig, kernel)

    monkeypatch.setattr(worker, "play", play)


def test_a_case_that_kills_its_worker_blames_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The neighbours take longer than the killer, so that they are there whenever it strikes."""

    def deed(case: Case) -> None:
        time.sleep(0.3)
        if case.id == ODD_ONE:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.5)

    play_odd(monkeypatch, deed)
    reports = play_all(jobs=32)
    assert_the_rest_is_sound(reports)
    assert "lost 2 times in this case: signal 9" in reports[ODD_ONE].error


def test_workers_that_cannot_start_end_the_run_with_their_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> System:
        raise KvmUnavailable("no KVM for workers")

    monkeypatch.setattr(worker.System, "open", refuse)
    with pytest.raises(KvmAbiError, match=r"3 worker processes ended.*: no KVM for workers"):
        play_all()


def test_workers_without_threads_end_the_run_with_their_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(KvmAbiError, match=r"0 of .* threads: can't start new thread"):
        play_all()


def test_fewer_threads_than_wanted_are_noted_and_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if threading.active_count() > 2:
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    supervisor = Supervisor(CASES, KERNEL, jobs=32)
    reports = [each for batch in supervisor.run() for each in batch]
    assert sorted(report.number for report in reports) == list(range(len(CASES)))
    assert any("can't start new thread" in note for note in supervisor.notes)


def test_a_finished_worker_is_fed_no_more() -> None:
    supervisor = Supervisor(CASES, KERNEL, jobs=1)
    with closing(supervisor.run()) as batches:
        next(batches)
        (one,) = supervisor._workers()
        one.finish()
        assert one.room == 0
        supervisor._waiting.append(0)
        rest = [each.number for batch in batches for each in batch]
    assert 0 in rest


def test_ctrl_c_while_a_worker_is_told_to_end_leaves_it_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may come between any two instructions; here it comes right behind close()."""
    real = os.close
    supervisor = Supervisor(CASES, KERNEL, jobs=1)
    with closing(supervisor.run()) as batches:
        next(batches)
        (one,) = supervisor._workers()

        def close(fd: int) -> None:
            real(fd)
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "close", close)
        with pytest.raises(KeyboardInterrupt):
            one.finish()
        monkeypatch.setattr(os, "close", real)
        one.finish()


def test_a_run_goes_on_where_another_ended() -> None:
    ended = {CASES[number].id for number in (1, 3)}
    reports = [each for batch in Supervisor(CASES, KERNEL, jobs=4).run(ended) for each in batch]
    assert {report.number for report in reports} == set(range(len(CASES))) - {1, 3}


def test_a_case_that_hangs_once_has_no_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def deed() -> None:
        if not (tmp_path / "hung").exists():
            (tmp_path / "hung").touch()
            time.sleep(1000)

    monkeypatch.setattr(run, "CASE_DEADLINE_S", 1.0)
    meddle(monkeypatch, deed)
    reports = play_all()
    assert_the_rest_is_sound(reports)
    assert not reports[ODD_ONE].disagreements
    assert "played again, alone: no verdict" in reports[ODD_ONE].error


def test_time_in_which_the_run_stood_still_is_not_the_cases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "CASE_DEADLINE_S", 2.0)
    meddle(monkeypatch, lambda: time.sleep(4.5))
    with closing(Supervisor(CASES, KERNEL, jobs=4).run()) as batches:
        reports = list(next(batches))
        time.sleep(4)
        reports += [each for batch in batches for each in batch]
    assert [each for each in reports if each.error or each.disagreements] == []


def test_what_was_reported_before_the_end_counts() -> None:
    """All cases have ended, and none of their reports has been read."""
    supervisor = Supervisor(CASES, KERNEL, jobs=1)
    with closing(supervisor.run()) as batches:
        next(batches)
        (one,) = supervisor._workers()
        give_up = time.monotonic() + 60
        while any(one.playing()) or time.monotonic() < give_up - 59:
            time.sleep(0.05)
        in_hand = set(one.in_hand)
        assert in_hand
        supervisor._selector.unregister(one.report_fd)
        how, reports = one.end()
    assert how == "signal 9"
    assert {report.number for report in reports} == in_hand


def test_workers_leave_ctrl_c_and_ctrl_z_to_the_supervisor() -> None:
    """Both go to the whole group, again and again, and at the very moment of each fork."""
    code = f"""
import os, signal, sys
from kvmabi.ioeventfd import process
real = os.fork
def fork():
    os.kill(0, signal.SIGINT)
    return real()
os.fork = fork
from kvmabi.cli import main
sys.exit(main(["matrix", "--filter", "{ODD_ONE}", "--jobs", "2"]))
"""
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=env,
        start_new_session=True,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == "kvmabi matrix: interrupted\n"


def test_a_case_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CASE_DEADLINE_S", 1.0)
    meddle(monkeypatch, lambda: time.sleep(1000))
    reports = play_all()
    assert_the_rest_is_sound(reports)
    (found,) = reports[ODD_ONE].disagreements
    assert found.promise == promises.RETURN
    assert "nothing came back" in found.seen


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), ZeroDivisionError("x")])
def test_a_bug_in_one_case_is_its_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def stumble() -> None:
        raise error

    meddle(monkeypatch, stumble)
    reports = play_all()
    assert_the_rest_is_sound(reports)
    assert str(error) in reports[ODD_ONE].error


def test_closing_the_run_leaves_no_worker() -> None:
    supervisor = Supervisor(CASES * 50, KERNEL, jobs=4)
    batches = supervisor.run()
    next(batches)
    pids = [each.pid for each in supervisor._workers()]
    assert pids
    batches.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_costliest_cases_come_first() -> None:
    cases = select(["many-mmio-*", "match-mmio-len0-any-w1-at0-write"])
    costs = [cases[number].ioctls for number in costly_first(cases)]
    assert costs == sorted(costs, reverse=True)
    assert (costs[0], costs[-1]) == (1203, 1)


# A whole run, from outside


def start(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kvmabi", "matrix", "--json", str(path)]
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=TOP
    )


def wait_for_cases(path: Path, count: int) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        if path.exists() and path.read_bytes().count(b"\n") > count:
            return
        time.sleep(0.01)
    pytest.fail("no cases ended")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "exit_code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_interrupted_run_loses_nothing_and_is_resumed(
    tmp_path: Path, how: signal.Signals, exit_code: int
) -> None:
    path = tmp_path / "matrix.jsonl"
    process = start(path)
    wait_for_cases(path, 1000)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == exit_code, stderr
    assert "Traceback" not in stderr
    before = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    ended = [record["id"] for record in before if record["type"] == "case"]
    assert len(ended) >= 1000
    command = [sys.executable, "-m", "kvmabi", "matrix", "--resume", str(path)]
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=env, cwd=TOP
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = [json.loads(line) for line in path.read_text().splitlines()]
    ids = [record["id"] for record in after if record["type"] == "case"]
    assert ids[: len(ended)] == ended
    assert len(ids) == len(set(ids)) == after[0]["planned"] == after[-1]["executed"]
