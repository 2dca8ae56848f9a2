"""Where a kernel's source comes from: a tree of the user's, an archive, or a package by apt."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab import apt, cache
from kvmabi.lab.build.patch import tree_version
from kvmabi.lab.build.unpack import unpack

DEBIAN: Final = "debian:"
KEPT: Final = 3
"""How many unpacked sources, of 1.5 GB each, stay in the cache."""


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel's source tree, which nobody here writes to.

    `label` tells a person where it is from. `content` names what is in it for good, and is empty
    for a tree that its owner may change.
    """

    tree: Path
    label: str
    content: str = ""


def find_source(name: str, say: Callable[[str], None]) -> Source:
    """Return the source that a user calls so; `say` gets a line before something that takes long.

    "debian:linux-source-6.1" is that package by way of apt; a folder is a source tree; a file is an
    archive, see `unpack`. Archives are unpacked into the cache once. Raises UsageError and
    LabUnavailable with the remedy.
    """
    path = Path(name)
    if name.startswith(DEBIAN):
        return _debian(name.removeprefix(DEBIAN), say)
    if path.is_dir():
        tree_version(path)
        return Source(path.resolve(), f"the tree {path}")
    if path.is_file():
        return _archive(path, cache.file_sha256(path), f"the archive {path.name}", say)
    raise UsageError(
        f"{name!r} is no kernel source: name a source tree, an archive of one (.tar.xz, .deb), or "
        "debian:linux-source-6.1"
    )


def _debian(name: str, say: Callable[[str], None]) -> Source:
    if not re.fullmatch(r"linux-source-\d+\.\d+", name):
        raise UsageError(f"{name!r}: a package of sources is meant, as in debian:linux-source-6.1")
    package = apt.candidates([name]).get(name)
    if package is None:
        raise LabUnavailable(
            f"apt knows no package {name}: are its lists fresh (apt-get update), and is that "
            "version in its sources (for bookworm, 6.12 is in bookworm-backports)?"
        )
    say(f"fetching {name} {package.version}")
    label = f"Debian's {name} {package.version}"
    return _archive(apt.fetch(package), package.sha256, label, say)


def _archive(path: Path, sha256: str, label: str, say: Callable[[str], None]) -> Source:
    """Return an archive's tree; one in the cache is whole, since it was given its name last."""
    tree = cache.folder("sources") / sha256[:24]
    if not tree.is_dir():
        say(f"unpacking {path.name}")
        with cache.whole_folder(tree) as fresh:
            unpack(path, fresh)
            tree_version(fresh)
        for old in cache.unused(tree.parent, "[!.]*", KEPT):
            shutil.rmtree(old, ignore_errors=True)
    cache.used(tree)
    return Source(tree, label, sha256)
