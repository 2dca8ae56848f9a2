"""Where downloads and what is made of them stay: a folder of the user's, keyed by content.

A file appears under its name whole or not at all, so that two labs may fill the cache at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from kvmabi.errors import LabUnavailable

ABANDONED_S: Final = 3600.0
"""After this time, something half-made belongs to nobody any more."""


def folder(*names: str) -> Path:
    """Return the cache's folder, or one inside it, made where it is missing.

    KVMABI_CACHE names another place than ``kvmabi`` in the user's cache folder.
    """
    own = os.environ.get("KVMABI_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(own or Path(base) / "kvmabi", *names)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabUnavailable(
            f"cannot make the cache folder {path}: {error.strerror}; KVMABI_CACHE can name another"
        ) from error
    return path


def digest(*parts: bytes | str) -> str:
    """Return a key for these parts, in this order: 24 hex digits of SHA-256."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:24]


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(path: Path, data: bytes) -> Path:
    """Put a whole file into the cache under its final name, and return that."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    return path


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill, which then gets its final name.

    Where another lab was first, its folder stays.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as made:
        fresh = Path(made, "folder")
        fresh.mkdir()
        yield fresh
        try:
            fresh.rename(path)
        except OSError:
            if not path.is_dir():
                raise


def made(path: Path, make: Callable[[], bytes]) -> Path:
    """Return a cached file, made first where it is missing; its name must tell its content."""
    if not path.is_file():
        return publish(path, make())
    used(path)
    return path


def used(path: Path) -> None:
    """Note that a file was of use just now."""
    with suppress(OSError):
        os.utime(path)


def unused(folder: Path, pattern: str, keep: int) -> list[Path]:
    """Return the paths that fit the pattern, without the `keep` that were used last; and sweep."""
    sweep(folder)
    try:
        found = sorted(folder.glob(pattern), key=lambda one: -one.stat().st_mtime)
    except FileNotFoundError:  # another lab is tidying up
        return []
    return found[keep:]


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-made in a folder of the cache."""
    for path in folder.glob(".new-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime <= ABANDONED_S:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
