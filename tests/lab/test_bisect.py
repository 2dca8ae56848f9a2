"""A first bad commit found by real builds and boots, past commits that do neither."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode
from kvmabi.lab.build.cedits import Where
from kvmabi.lab.build.patch import Edit, edited
from kvmabi.lab.build.sources import find_source

pytestmark = [pytest.mark.lab, pytest.mark.lab_full, pytest.mark.builds]

CASE = "match-pio-len4-equal-w4-at0-write"
NOBODY = {
    f"GIT_{who}_{what}": text
    for who in ("AUTHOR", "COMMITTER")
    for what, text in (
        ("NAME", "nobody"),
        ("EMAIL", "nobody@localhost"),
        ("DATE", "2000-01-01T00:00:00Z"),
    )
}
EVENTFD, MAIN = "virt/kvm/eventfd.c", "init/main.c"
DATAMATCH = Edit(
    EVENTFD,
    find="return _val == p->datamatch;",
    replace="return _val == ~p->datamatch;",
    within="ioeventfd_in_range",
)
NO_C = Edit(
    EVENTFD,
    find="return _val == p->datamatch;",
    replace="return _val == no_such_name;",
    within="ioeventfd_in_range",
)
PANIC = Edit(
    MAIN,
    find="arch_call_rest_init();",
    replace='panic("on purpose");\n',
    within="start_kernel",
    where=Where.BEFORE,
)


@dataclass
class History:
    """A bare repository; each commit changes files of the one before."""

    path: Path
    head: str = ""
    commits: list[str] = field(default_factory=list)

    def git(self, *words: str, text: str | None = None, **environment: str) -> str:
        done = subprocess.run(
            ["git", f"--git-dir={self.path}", "-c", "core.compression=1", *words],
            env={**os.environ, **NOBODY, **environment},
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip("\n")

    def import_tree(self, tree: Path, subject: str) -> None:
        """Commit all files of a tree, which is read and left as it is."""
        self.git(f"--work-tree={tree}", "add", "--all", "--force", ".")
        self._commit(subject)

    def change(self, subject: str, files: dict[str, Callable[[str], str]]) -> None:
        """Commit what the functions make of these files."""
        for name, make in files.items():
            blob = self.git("hash-object", "-w", "--stdin", text=make(self.show(name)))
            self.git("update-index", "--cacheinfo", f"100644,{blob},{name}")
        self._commit(subject)

    def show(self, name: str) -> str:
        return self.git("show", f"{self.head}:{name}") + "\n"

    def _commit(self, subject: str) -> None:
        parent = ["-p", self.head] if self.head else []
        tree = self.git("write-tree")
        self.head = self.git("commit-tree", tree, *parent, "-m", subject)
        self.commits.append(self.head)
        self.git("update-ref", "refs/heads/main", self.head)


def by(edit: Edit) -> dict[str, Callable[[str], str]]:
    return {edit.file: lambda text: edited(text, edit, "the history")}


def said(text: str, file: str = EVENTFD) -> dict[str, Callable[[str], str]]:
    return {file: lambda before: f"{before}/* {text} */\n"}


def make_history(path: Path) -> History:
    """Eight commits on top of Debian's source, in an order that has git ask for the odd ones."""
    history = History(path)
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    history.import_tree(find_source("debian:linux-source-6.1", lambda _: None).tree, "Linux 6.1")
    history.change("Say something", said("one"))
    before = history.show(MAIN)
    history.change("Check the command line early", by(PANIC))
    history.change("Check it later again", {MAIN: lambda _: before})
    before_too = history.show(EVENTFD)
    history.change("Rename a variable in one place", by(NO_C))
    history.change("Rename it back", {EVENTFD: lambda _: before_too})
    history.change("Compare what the guest has written", by(DATAMATCH))
    history.change("Say more", said("two"))
    history.change("Say it elsewhere", said("three", MAIN))
    return history


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return make_history(tmp_path_factory.mktemp("history") / "linux.git")


def bisect(history: History, good: str, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["lab", "bisect", str(history.path), "--good", good, "--bad", "main", *more]
    return subprocess.run(
        [sys.executable, "-m", "kvmabi", *words, "--", "matrix", "--repro", CASE],
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * 3600,
    )


def test_the_commit_that_broke_a_promise_is_found(history: History, tmp_path: Path) -> None:
    done = bisect(history, history.commits[0], "--log", str(tmp_path / "log"))
    assert done.returncode == ExitCode.KEPT, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].endswith("] Compare what the guest has written")
    assert lines[-1].startswith(f"# first bad commit: [{history.commits[6]}")
    assert (tmp_path / "log").read_text() == done.stdout
    assert sum("bad again, " in line for line in lines) >= 2 * 3
    assert any("skip: does not build: " in line and "no_such_name" in line for line in lines)
    assert any("skip: does not boot: " in line for line in lines)
    assert "commits skipped: 2" in done.stderr
    assert history.git("worktree", "list").count("\n") == 0
