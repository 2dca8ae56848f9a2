"""Files by their path, wherever they are: in a folder, at a git ref, or in an archive."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kvmabi.errors import UsageError
from kvmabi.header.source import MAX_FILE_BYTES

_GIT_TIMEOUT_S = 60


class Files(Protocol):
    """Something that has files by relative path."""

    def read(self, path: str) -> bytes | None:
        """The bytes of a file; None if there is none."""


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files below a folder."""

    folder: Path

    def read(self, path: str) -> bytes | None:
        """The bytes of a file; None if there is none. UsageError if it cannot be read."""
        target = self.folder / path
        try:
            if not target.is_file():
                return None
            with target.open("rb") as stream:
                return stream.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class MemoryFiles:
    """Files that an archive gave."""

    files: Mapping[str, bytes]

    def read(self, path: str) -> bytes | None:
        """The bytes of a file; None if there is none."""
        return self.files.get(path)


@dataclass(frozen=True, slots=True)
class GitFiles:
    """The files of one commit of a git repository; `commit` is its full id."""

    repository: Path
    commit: str

    @classmethod
    def at(cls, repository: Path, ref: str) -> GitFiles:
        """The files at a ref; UsageError if the repository has none of that name."""
        done = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options",
                    f"{ref}^{{commit}}")  # fmt: skip
        commit = done.stdout.decode().strip()
        if done.returncode or not commit:
            raise UsageError(f"{repository} has no git commit {ref!r}")
        return cls(repository, commit)

    def read(self, path: str) -> bytes | None:
        """The bytes of a file; None if there is none."""
        done = _git(self.repository, "cat-file", "blob", f"{self.commit}:{path}")
        return None if done.returncode else done.stdout


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(repository), *arguments]
    try:
        return subprocess.run(command, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise UsageError(f"git cannot be run: {problem}") from None
