"""Imported sets on disk: each replaced whole, with its origin and a checksum a file.

A set is `NAME`, a symbolic link to a folder beside it, so that one rename swaps the old for the new
and nobody ever sees half a set.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.arch import Architecture
from kvmabi.errors import HeaderError, UsageError
from kvmabi.header import HeaderTree, SourceFile, source_from_bytes
from kvmabi.headersets.collect import Collected, check
from kvmabi.headersets.installed import COMMON
from kvmabi.headersets.origin import Origin

RECORD: Final = "source.json"
OVERLAYS: Final = "overlays"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def default_store() -> Path:
    """The folder of imported sets: below XDG_CACHE_HOME, outside any repository."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "kvmabi" / "headers"


@dataclass(frozen=True, slots=True)
class HeaderSet:
    """An imported set; `sha256` are its files' checksums by their path in it."""

    folder: Path
    version: str
    origin: Origin
    architectures: tuple[str, ...]
    absent: dict[str, str]
    sha256: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> HeaderSet:
        """The set in a folder; HeaderError where it is none, or was changed since its import."""
        name = folder.name
        try:
            record = json.loads((folder / RECORD).read_text("utf-8"))
            origin = Origin(**record["origin"])
            found = cls(
                folder.resolve(), record["version"], origin, tuple(record["architectures"]),
                record["absent"], record["sha256"],
            )  # fmt: skip
            changed = sorted(
                path for path, digest in found.sha256.items()
                if _digest((folder / path).read_bytes()) != digest
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise HeaderError(f"no imported set: {problem}", file=name) from None
        if changed:
            raise HeaderError(f"changed since its import: {', '.join(changed)}", file=name)
        return found

    def tree(self, architecture: Architecture) -> HeaderTree:
        """The headers of an architecture; UsageError where the set has none."""
        if architecture.name not in self.architectures:
            reason = self.absent.get(architecture.name, "not imported")
            raise UsageError(f"{self.folder.name} has no {architecture.name}: {reason}")
        return HeaderTree.of(self.folder / architecture.name, self.folder / COMMON)

    def overlays(self) -> tuple[SourceFile, ...]:
        """The overlays that were imported with it."""
        names = sorted(path for path in self.sha256 if path.startswith(f"{OVERLAYS}/"))
        return tuple(source_from_bytes((self.folder / name).read_bytes(), name) for name in names)


def save(
    collected: Collected,
    origin: Origin,
    store: Path,
    name: str,
    overlays: Sequence[SourceFile] = (),
) -> HeaderSet:
    """Put a set into the store under a name, in the place of one that has it; the new set.

    It is written beside the old one, read back as C, and swapped in at once: whatever fails on the
    way, or interrupts it, leaves the old set. HeaderError where the headers cannot be read.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a set: letters, digits and . _ - only")
    files = dict(collected.files)
    for overlay in overlays:
        files[f"{OVERLAYS}/{Path(overlay.name).name}"] = overlay.text.encode()
    try:
        store.mkdir(parents=True, exist_ok=True)
        with _locked(store), _workspace(store, name) as folder:
            _write(files, collected, origin, folder)
            check(folder, collected.architectures)
            _swap(folder, store / name)
    except OSError as problem:
        raise UsageError(f"the set cannot be written: {problem}") from None
    return HeaderSet.load(store / name)


def _write(files: dict[str, bytes], collected: Collected, origin: Origin, folder: Path) -> None:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / COMMON).mkdir(exist_ok=True)
    record = {
        "version": collected.version,
        "origin": {**origin.facts(), "given": origin.given},
        "architectures": list(collected.architectures),
        "absent": collected.absent,
        "sha256": {path: _digest(data) for path, data in sorted(files.items())},
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    with (store / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _workspace(store: Path, name: str) -> Iterator[Path]:
    """A new folder beside the sets; afterwards only the one that `name` leads to is left."""
    folder = Path(tempfile.mkdtemp(prefix=f".{name}@", dir=store))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        link = store / name
        current = link.readlink().name if link.is_symlink() else ""
        for other in store.glob(f".{name}@*"):
            if other.name != current:
                shutil.rmtree(other, ignore_errors=True)


def _swap(folder: Path, link: Path) -> None:
    if link.exists() and not link.is_symlink():
        raise UsageError(f"{link} is in the way: it is no set that kvmabi imported")
    new = folder / ".link"
    new.symlink_to(folder.name)
    new.replace(link)


def names(store: Path) -> list[str]:
    """The names of the sets in a store."""
    if not store.is_dir():
        return []
    return sorted(path.name for path in store.iterdir() if path.is_symlink())
