"""`git bisect run` on a real, small history, with a script as its step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode, KvmAbiError, LabUnavailable, UsageError
from kvmabi.lab.bisect.drive import Bisection, Found, answer_of
from kvmabi.lab.bisect.judge import Answer
from kvmabi.lab.bisect.tree import Git, private_tree

from .conftest import History, until

STEP = """\
import pathlib, subprocess, sys, time
state = pathlib.Path("state").read_text().strip()
with open({seen!r}, "a") as file:
    file.write(pathlib.Path("number").read_text())
if state == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path({pid!r}).write_text(str(child.pid))
    time.sleep(600)
sys.exit({{"good": 0, "bad": 1, "odd": 7, "skip": 125, "abort": 128}}[state])
"""


@pytest.fixture
def bisect(history, tmp_path: Path) -> Callable[..., Found]:
    """Bisects a history of these states from its first to its last commit."""

    def run(*states: str) -> Found:
        made = history(states)
        with bisection(made, tmp_path) as one:
            one.check_end("--good", made.commits[0], Answer.GOOD)
            one.check_end("--bad", made.commits[-1], Answer.BAD)
            return one.search(made.commits[0], made.commits[-1])

    return run


class bisection:  # noqa: N801 (a context manager, used like a function)
    def __init__(self, made: History, place: Path) -> None:
        self._made, self._place = made, place

    def __enter__(self) -> Bisection:
        step = self._place / "step.py"
        step.write_text(STEP.format(seen=str(self._place / "seen"), pid=str(self._place / "pid")))
        self._tree = private_tree(Git(self._made.path), self._made.commits[0])
        self.folder, git = self._tree.__enter__()
        return Bisection(git, (sys.executable, str(step)), self._place / "transcript")

    def __exit__(self, *error: object) -> None:
        self._tree.__exit__(*error)  # type: ignore[arg-type]
        assert not self.folder.exists()
        assert self._made.git("worktree", "list").count("\n") == 0


@pytest.mark.parametrize("first_bad", range(1, 8))
def test_the_first_bad_commit_is_found_wherever_it_is(bisect, first_bad: int) -> None:
    found = bisect(*["good"] * first_bad, *["bad"] * (8 - first_bad))
    assert found.first_bad.endswith(f"] Change number {first_bad}: bad")
    assert found.log.splitlines()[-1] == f"# first bad commit: {found.first_bad}"
    assert found.skipped == 0


def test_any_exit_code_that_git_calls_bad_is_bad(bisect) -> None:
    assert "number 2" in bisect("good", "good", "odd", "bad", "bad").first_bad


def test_what_cannot_be_judged_is_skipped_and_counted(bisect) -> None:
    found = bisect("good", "good", "good", "skip", "bad", "bad", "bad", "bad")
    assert found.skipped == 1
    assert found.first_bad == ""
    assert len(found.candidates) == 2


def test_a_skipped_commit_elsewhere_does_not_matter(bisect) -> None:
    found = bisect("good", "skip", "skip", "good", "good", "bad", "bad", "bad")
    assert "number 5" in found.first_bad
    assert found.candidates == []


def test_a_step_that_gives_up_stops_it(bisect) -> None:
    with pytest.raises(KvmAbiError, match="git bisect run stopped: exit code") as caught:
        bisect("good", "good", "abort", "bad", "bad")
    assert caught.value.exit_code == ExitCode.HARNESS_FAILED


@pytest.mark.parametrize(
    ("ends", "error", "code", "said"),
    [
        (("bad", "bad"), UsageError, ExitCode.USAGE, "--good is not good"),
        (("good", "good"), UsageError, ExitCode.USAGE, "--bad is not bad"),
        (("skip", "bad"), LabUnavailable, ExitCode.NOTHING_CHECKED, "--good can be called"),
        (("good", "skip"), LabUnavailable, ExitCode.NOTHING_CHECKED, "--bad can be called"),
        (("abort", "bad"), KvmAbiError, ExitCode.HARNESS_FAILED, "--good could not be tried"),
    ],
)
def test_ends_that_are_not_what_is_said_are_refused(
    history, tmp_path: Path, ends, error, code, said
) -> None:
    made = history([ends[0], "good", "bad", ends[1]])
    names = {"--good": made.commits[0], "--bad": made.commits[-1]}
    with bisection(made, tmp_path) as one, pytest.raises(error) as caught:
        one.check_end("--good", names["--good"], Answer.GOOD)
        one.check_end("--bad", names["--bad"], Answer.BAD)
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == code
    assert set((tmp_path / "seen").read_text().split()) <= {"0", "3"}


def test_the_users_tree_index_and_bisection_stay_as_they_are(history, tmp_path: Path) -> None:
    made = history(["good", "good", "bad", "bad"])
    made.git("bisect", "start", made.commits[3], made.commits[0])
    (made.path / "state").write_text("changed by hand\n")
    (made.path / "hook-ran").write_text("")
    hook = made.path / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\necho >>{tmp_path}/hook-ran\n")
    hook.chmod(0o755)
    before = made.git("status"), made.git("bisect", "log"), made.git("rev-parse", "HEAD")
    with bisection(made, tmp_path) as one:
        assert "number 2" in one.search(made.commits[0], made.commits[-1]).first_bad
    assert (made.git("status"), made.git("bisect", "log"), made.git("rev-parse", "HEAD")) == before
    assert not (tmp_path / "hook-ran").exists()


def test_another_checkout_that_is_gone_for_now_is_left_to_the_user(history, tmp_path: Path) -> None:
    made = history(["good", "bad"])
    made.git("worktree", "add", "-q", "--detach", str(tmp_path / "removable"))
    (tmp_path / "removable").rename(tmp_path / "elsewhere")
    with private_tree(Git(made.path), made.commits[0]) as (folder, _):
        pass
    assert not folder.exists()
    assert str(tmp_path / "removable") in made.git("worktree", "list")


def test_what_a_killed_bisection_left_goes_with_the_next(history, tmp_path: Path) -> None:
    made = history(["good", "bad"])
    abandoned = tmp_path / "cache" / "bisect" / "run-abandoned"
    abandoned.mkdir(parents=True)
    (abandoned / "lock").touch()
    (abandoned / "objects").mkdir()
    with private_tree(Git(made.path), made.commits[0]) as (folder, _):
        assert not abandoned.exists()
        with private_tree(Git(made.path), made.commits[1]) as (other, git):
            assert folder.exists()
            assert other != folder
            assert git("rev-parse", "HEAD") == made.commits[1]
        assert (folder / "kvmabi-bisect" / "state").exists()


def test_a_git_around_us_does_not_point_elsewhere(history, tmp_path: Path, monkeypatch) -> None:
    made = history(["good", "bad"])
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert Git(made.path).commit("main") == made.commits[-1]


@pytest.mark.parametrize("name", ["no-such-branch", "HEAD:state", "--all", ""])
def test_a_name_of_no_commit_is_told(history, name: str) -> None:
    made = history(["good"])
    with pytest.raises(UsageError, match="has no commit"):
        Git(made.path).commit(name)


def test_a_folder_without_a_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a git repository"):
        Git(tmp_path).commit("HEAD")
    with pytest.raises(UsageError, match="No such file"):
        Git(tmp_path / "none").commit("HEAD")


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (0, Answer.GOOD),
        (1, Answer.BAD),
        (124, Answer.BAD),
        (125, Answer.SKIP),
        (126, Answer.BAD),
        (128, Answer.ABORT),
        (130, Answer.ABORT),
        (-9, Answer.ABORT),
    ],
)
def test_exit_codes_mean_what_git_says(code: int, answer: Answer) -> None:
    assert answer_of(code) is answer


DRIVER = """\
import signal, sys
from pathlib import Path
from kvmabi.lab.bisect.drive import Bisection
from kvmabi.lab.bisect.tree import Git, private_tree
signal.signal(signal.SIGINT, signal.default_int_handler)
repository, good, bad, step, transcript = sys.argv[1:]
try:
    with private_tree(Git(Path(repository)), good) as (folder, git):
        Bisection(git, (sys.executable, step), Path(transcript)).search(good, bad)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def ended(history, tmp_path: Path) -> Callable[[signal.Signals], History]:
    """Ends a bisection by a signal while a step has started a process; returns its history."""

    def end(by: signal.Signals) -> History:
        made = history(["good", "hang", "bad"])
        step = tmp_path / "step.py"
        step.write_text(STEP.format(seen=str(tmp_path / "seen"), pid=str(tmp_path / "pid")))
        words = [str(made.path), made.commits[0], made.commits[-1], str(step)]
        command = [sys.executable, "-c", DRIVER, *words, str(tmp_path / "transcript")]
        with subprocess.Popen(command) as ours:
            assert until(lambda: int((tmp_path / "pid").read_text()) > 0)
            assert len(working_in(tmp_path / "cache")) >= len(("git", "step", "child"))
            os.kill(ours.pid, by)
            assert ours.wait(timeout=60) == (130 if by is signal.SIGINT else -by)
        return made

    return end


def test_ctrl_c_ends_all_and_leaves_nothing(ended, tmp_path: Path) -> None:
    made = ended(signal.SIGINT)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert list((tmp_path / "cache" / "bisect").iterdir()) == []
    assert made.git("worktree", "list").count("\n") == 0


def test_nothing_goes_on_where_it_is_killed_and_the_next_one_tidies_up(
    ended, tmp_path: Path
) -> None:
    made = ended(signal.SIGKILL)
    assert until(lambda: not working_in(tmp_path / "cache"))
    assert made.git("worktree", "list").count("\n") == 1
    with private_tree(Git(made.path), made.commits[0]):
        assert made.git("worktree", "list").count("\n") == 1
    assert list((tmp_path / "cache" / "bisect").iterdir()) == []
    assert made.git("worktree", "list").count("\n") == 0


def working_in(folder: Path) -> list[str]:
    """The processes whose working directory is in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(process.name)
    return found
