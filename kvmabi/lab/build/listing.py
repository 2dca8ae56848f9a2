"""What is in a source tree: each file's path and content, read again only where it may differ."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from kvmabi.errors import UsageError
from kvmabi.lab import cache

Stamp = tuple[int, int, int, int]
"""Inode, size, time of change and mode: a file with the same stamp has the same content."""
_NEVER: Final = frozenset({".git"})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file's stamp and what it holds: a SHA-256 with "x" if it can be run, or a link's target."""

    stamp: Stamp
    content: str


Listing = Mapping[str, SourceFile]
"""Path relative to the tree, to what is there."""


def listing(tree: Path, known: Listing) -> dict[str, SourceFile]:
    """Return all source files of a tree; a file whose stamp is `known` is not read.

    In a git checkout, what git ignores (what a build leaves behind, above all) is left out.
    """
    found = {}
    for name in sorted(_names(tree)):
        path = tree / name
        try:
            state = path.lstat()
        except FileNotFoundError:  # tracked by git and deleted
            continue
        stamp = (state.st_ino, state.st_size, state.st_mtime_ns, state.st_mode)
        old = known.get(name)
        if old is not None and old.stamp == stamp:
            found[name] = old
        elif path.is_symlink():
            found[name] = SourceFile(stamp, f"-> {path.readlink()}")
        elif path.is_file():
            runs = "x" if state.st_mode & 0o100 else ""
            found[name] = SourceFile(stamp, _sha256(path) + runs)
    return found


def names(tree: Path) -> dict[str, SourceFile]:
    """Return all source files of a tree that nobody changes: none is read, nor looked at again."""
    return {name: SourceFile((0, 0, 0, 0), "") for name in sorted(_names(tree))}


def content_of(files: Listing) -> str:
    """Return a name for all that a listing holds, whatever the stamps."""
    return cache.digest("".join(f"{name}\0{one.content}\n" for name, one in files.items()))


def may_hold(tree: Path, name: str) -> bool:
    """Return whether a listing of the tree could have this name, which leads through no link."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name:
        return False
    return not any((tree / one).is_symlink() for one in path.parents[:-1])


def _names(tree: Path) -> Iterator[str]:
    if (tree / ".git").exists() and shutil.which("git"):
        done = subprocess.run(
            ["git", "-C", tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise UsageError(f"git cannot list {tree}: {done.stderr.decode().strip()}")
        return iter(os.fsdecode(done.stdout).rstrip("\0").split("\0"))
    return _walk(tree)


def _walk(tree: Path) -> Iterator[str]:
    for base, folders, files in os.walk(tree):
        folders[:] = [name for name in folders if name not in _NEVER]
        start = os.path.relpath(base, tree)
        prefix = "" if start == "." else f"{start}/"
        for name in files:
            yield prefix + name
        for name in folders:
            if os.path.islink(f"{base}/{name}"):  # noqa: PTH114 (80,000 files)
                yield prefix + name


def _sha256(path: Path) -> str:
    try:
        return cache.file_sha256(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
