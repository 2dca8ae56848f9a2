"""A small history, in which a file tells what each commit is."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

WHO = {
    f"GIT_{who}_{what}": text
    for who in ("AUTHOR", "COMMITTER")
    for what, text in (("NAME", "nobody"), ("EMAIL", "nobody@localhost"))
}


@dataclass
class History:
    """A repository, and its commits in order: each has what it is in the file `state`."""

    path: Path
    commits: list[str] = field(default_factory=list)

    def git(self, *words: str) -> str:
        environment = {**os.environ, **WHO, "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
        command = ["git", "-C", str(self.path), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment, timeout=60
        )
        return done.stdout.strip()

    def add(self, state: str) -> None:
        number = len(self.commits)
        (self.path / "state").write_text(f"{state}\n")
        (self.path / "number").write_text(f"{number}\n")
        self.git("add", ".")
        self.git("commit", "-qm", f"Change number {number}: {state}")
        self.commits.append(self.git("rev-parse", "HEAD"))


@pytest.fixture
def history(tmp_path: Path, monkeypatch) -> Callable[[Sequence[str]], History]:
    """Makes a history with one commit for each state."""
    monkeypatch.setenv("KVMABI_CACHE", str(tmp_path / "cache"))

    def make(states: Sequence[str]) -> History:
        path = tmp_path / "kernel"
        path.mkdir()
        made = History(path)
        made.git("init", "-q", "-b", "main")
        for state in states:
            made.add(state)
        return made

    return make


def until(what: Callable[[], bool]) -> bool:
    """Wait for something, which may not be there to look at yet; whether it came."""
    return any(holds(what) for _ in ticks())


def ticks() -> Iterator[None]:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        yield
        time.sleep(0.02)


def holds(what: Callable[[], bool]) -> bool:
    try:
        return what()
    except (OSError, ValueError):
        return False
