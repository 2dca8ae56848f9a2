"""A private copy of a source tree that follows the tree and takes changes of its own.

The copy is made of hard links, which cost a second and no space; a file that is to differ is
replaced, never written to. Make goes by times, so a file that gets other content gets a new time
as well, and one whose content comes back to what it was keeps its time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from kvmabi.errors import UsageError
from kvmabi.lab.build.listing import Listing, SourceFile, may_hold

_STATE: Final = "state.json"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with a private source tree (`source`) and what is built of it (`out`)."""

    folder: Path

    @property
    def source(self) -> Path:
        """The private tree."""
        return self.folder / "source"

    @property
    def out(self) -> Path:
        """Where its objects go."""
        return self.folder / "out"

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Keep others out; `waiting` is called where another build has to end first."""
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    waiting()
                    fcntl.flock(lock, fcntl.LOCK_EX)
                if self._is_in_place(lock):
                    yield
                    return

    def remove(self) -> None:
        """Remove it with all that is in it, unless a build is at work there."""
        with suppress(OSError), self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_in_place(lock):
                with tempfile.TemporaryDirectory(dir=self.folder.parent, prefix=".new-") as gone:
                    self.folder.rename(Path(gone, "folder"))  # a new one may be made at once

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    def _is_in_place(self, lock: IO[str]) -> bool:
        """Return whether a lock that was waited for still is this folder's, which may be gone."""
        try:
            return os.path.samestat(os.fstat(lock.fileno()), self._lock.stat())
        except FileNotFoundError:
            return False

    def known(self) -> Listing:
        """Return what the copy was made of the last time; empty where there is no whole copy."""
        return {name: SourceFile(tuple(stamp), content) for name, stamp, content in self._rows()}

    def update(
        self, tree: Path, files: Listing, change: Callable[[Path, set[str]], object]
    ) -> None:
        """Make the copy like the tree's files, then let `change` change it.

        `change` gets the copy and a set, to which it adds the path of each file before it writes,
        makes or removes that. The next update takes these from the tree again; a path that is no
        file's in the copy does no harm.
        """
        known, changed = self.known(), set(self._state().get("changed", []))
        if not known:
            shutil.rmtree(self.source, ignore_errors=True)
            shutil.rmtree(self.out, ignore_errors=True)
        ours = [name for name in changed if may_hold(self.source, name)]
        before = {name: _Kept.of(self.source / name) for name in ours}
        (self.folder / _STATE).unlink(missing_ok=True)  # until the copy is whole again
        self._follow(tree, files, known, changed)
        changed = set()
        try:
            change(self.source, changed)
            _keep_times(self.source, before)
        finally:
            self._save(files, changed)

    def _follow(self, tree: Path, files: Listing, known: Listing, changed: set[str]) -> None:
        for name in sorted((known.keys() | changed) - files.keys()):  # a link before what it hides
            if may_hold(self.source, name):
                _drop(self.source / name)
        for name, one in files.items():
            old = known.get(name)
            path = self.source / name
            if (
                old is None
                or old.content != one.content
                or name in changed
                or _is_written_in_place(path, old, one)
            ):
                _bring(tree / name, path, fresh=bool(known))

    def _state(self) -> dict[str, Any]:
        path = self.folder / _STATE
        state: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return state

    def _rows(self) -> list[Any]:
        rows: list[Any] = self._state().get("files", [])
        return rows

    def _save(self, files: Listing, changed: set[str]) -> None:
        rows = [[name, one.stamp, one.content] for name, one in files.items()]
        path = self.folder / _STATE
        path.with_suffix(".new").write_text(json.dumps({"files": rows, "changed": sorted(changed)}))
        path.with_suffix(".new").replace(path)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A changed file's content and time, so that the time can come back with the content."""

    data: bytes
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> _Kept | None:
        if not path.is_file():
            return None
        return cls(path.read_bytes(), path.stat().st_mtime_ns)


def _keep_times(source: Path, before: dict[str, _Kept | None]) -> None:
    for name, kept in before.items():
        path = source / name
        if kept is not None and path.is_file() and path.read_bytes() == kept.data:
            os.utime(path, ns=(kept.mtime_ns, kept.mtime_ns))


def _is_written_in_place(path: Path, old: SourceFile, one: SourceFile) -> bool:
    """Return whether a file of the tree, to which `path` is a link, was written to.

    With the content that it had, since what was written may be gone again; but something may have
    been built of it.
    """
    return old.stamp[:3] != one.stamp[:3] and path.lstat().st_ino == one.stamp[0]


def _bring(origin: Path, path: Path, *, fresh: bool) -> None:
    """Put a tree's file in its place; a `fresh` one gets the time of now, which a link cannot."""
    try:
        _copy(origin, path, fresh=fresh)
    except OSError as error:
        raise UsageError(
            f"cannot copy {origin}: {error.strerror}; start again where the source just changed"
        ) from error


def _copy(origin: Path, path: Path, *, fresh: bool) -> None:
    _remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if origin.is_symlink():
        path.symlink_to(origin.readlink())
        return
    if not fresh:
        with suppress(OSError):  # another file system, or a file of another user's
            path.hardlink_to(origin)
            return
    shutil.copyfile(origin, path)
    path.chmod(origin.stat().st_mode & 0o777 | 0o200)


def _drop(path: Path) -> None:
    """Remove a file; a folder stays, since it may hold files that the tree has."""
    if path.is_symlink() or not path.is_dir():
        with suppress(NotADirectoryError):  # a file where its folder was
            path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
