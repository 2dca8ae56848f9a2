"""A history in a checkout of its own: the user's tree, index and bisection stay as they are."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.errors import ToolMissing, UsageError
from kvmabi.lab import cache

NAME: Final = "kvmabi-bisect"
"""What git calls the checkout."""
LOCK: Final = "lock"
"""A file in the folder, locked as long as the bisection lives."""
_QUIET: Final = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
"""A checkout for us must not run the user's hooks."""
_OF_A_REPOSITORY: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""What a git around us (a hook, say) would point elsewhere. Source: git-rev-parse(1)."""


def environment() -> dict[str, str]:
    """Return our environment without what would have git work on another repository."""
    kept = {name: text for name, text in os.environ.items() if name not in _OF_A_REPOSITORY}
    return {**kept, "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Git:
    """The git repository that a folder is in."""

    folder: Path

    def command(self, *words: str) -> list[str]:
        """Return the command line."""
        return ["git", "-C", str(self.folder), *_QUIET, *words]

    def __call__(self, *words: str) -> str:
        """Return what git prints, without the last newline; UsageError with its complaint."""
        try:
            done = subprocess.run(
                self.command(*words),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=environment(),
                check=False,
            )
        except FileNotFoundError:
            raise ToolMissing("git is not installed: apt-get install -y git") from None
        if done.returncode:
            said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise UsageError(f"git {words[0]} in {self.folder}: {said}")
        return done.stdout.rstrip("\n")

    def commit(self, name: str) -> str:
        """Return the hash of the commit that a name means; UsageError for a name of none."""
        try:
            return self(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
            )
        except UsageError:
            self("rev-parse", "--git-dir")  # where there is no repository, that is the trouble
            raise UsageError(f"{self.folder} has no commit {name!r}") from None

    def subject(self, commit: str) -> str:
        """Return a commit as people name it: short hash and subject."""
        return self("log", "-1", "--format=%h %s", commit)


@contextmanager
def private_tree(repository: Git, commit: str) -> Iterator[tuple[Path, Git]]:
    """Yield a folder of our own, and the git of a checkout of the commit in it; both go at the end.

    The checkout shares the repository's objects. Git keeps the refs of a bisection for each
    checkout apart.
    """
    place = cache.folder("bisect")
    _sweep(place)
    folder = Path(tempfile.mkdtemp(dir=place, prefix="run-"))
    tree = folder / NAME
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            repository("worktree", "add", "--quiet", "--detach", str(tree), commit)
            yield folder, Git(tree)
        finally:
            _remove(folder, repository)


def _sweep(place: Path) -> None:
    """Remove what belongs to nobody any more: a kernel's checkout with its objects takes 3 GB."""
    for path in place.glob(f"run-*/{LOCK}"):
        try:
            with path.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path.parent, Git(path.parent / NAME))
        except OSError:  # it is somebody's, or gone
            continue


def _remove(folder: Path, repository: Git) -> None:
    """Remove a folder of ours, and the checkout in it from the repository's list."""
    with suppress(UsageError):  # it may not be one yet, or the repository is gone
        repository("worktree", "remove", "--force", "--force", str(folder / NAME))
    shutil.rmtree(folder, ignore_errors=True)
