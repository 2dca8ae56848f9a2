"""What a user names with --patch: one of our patches, a file in our own language, or a diff."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, Protocol

from kvmabi.errors import UsageError
from kvmabi.lab.build import tools
from kvmabi.lab.build.patch import Patch, apply, read_patch

PATCHES: Final = "kvmabi.lab.patches"
SUFFIX: Final = ".toml"
PATCH: Final = ("patch", "patch")
"""The program that applies diffs, and its package."""
_HEADER: Final = re.compile(r"^(?:---|\+\+\+) ([^\t\n]+)", re.MULTILINE)
_RENAME: Final = re.compile(r"^rename (?:from|to) (.+)$", re.MULTILINE)
_HUNK: Final = re.compile(r"^@@ ", re.MULTILINE)


class Change(Protocol):
    """A change to a source tree. `content` names all that it does."""

    @property
    def label(self) -> str:
        """What a person calls it."""
        ...

    @property
    def content(self) -> str:
        """A text that is another for each other change."""
        ...

    def files(self) -> frozenset[str]:
        """Return the paths of the files that it may write, make or remove."""
        ...

    def make(self, tree: Path) -> None:
        """Change the tree, whole or not at all; UsageError where it does not fit."""
        ...


@dataclass(frozen=True, slots=True)
class PatchChange:
    """A patch in our own language."""

    patch: Patch

    @property
    def label(self) -> str:
        """Its name."""
        return self.patch.name

    @property
    def content(self) -> str:
        """All of its edits."""
        return repr(self.patch.edits)

    def files(self) -> frozenset[str]:
        """Return the files of its edits."""
        return frozenset(one.file for one in self.patch.edits)

    def make(self, tree: Path) -> None:
        """Apply it."""
        apply(self.patch, tree)


@dataclass(frozen=True, slots=True)
class DiffChange:
    """A unified diff, as git and diff -u write it, whose paths have one folder in front."""

    label: str
    content: str

    def files(self) -> frozenset[str]:
        """Return the files that its headers name."""
        named = {path.partition("/")[2] for path in _HEADER.findall(self.content)}
        return frozenset(named | set(_RENAME.findall(self.content))) - {"dev/null", "null", ""}

    def make(self, tree: Path) -> None:
        """Apply it by patch(1), without fuzz: every line of context must be there."""
        tools.require([PATCH])
        for more in (["--dry-run"], []):
            done = subprocess.run(
                ["patch", "-p1", "--force", "--fuzz=0", "--no-backup-if-mismatch", *more],
                cwd=tree,
                input=self.content.encode("utf-8", "surrogateescape"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode:
                said = "\n  ".join(done.stdout.decode(errors="replace").splitlines()[-8:])
                raise UsageError(f"the patch {self.label} does not apply:\n  {said}")


def find_change(name: str) -> Change:
    """Return the change that a user calls so; UsageError where there is none."""
    path = Path(name)
    if not path.is_file():
        if name in own_patches():
            return PatchChange(read_patch(own_patches()[name]))
        raise UsageError(
            f"there is no patch {name!r}: name one of ours ({', '.join(own_patches())}), a .toml "
            "file with edits, or a diff"
        )
    if path.suffix == SUFFIX:
        return PatchChange(read_patch(path))
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    if not _HUNK.search(text):
        raise UsageError(f"{path} is neither a unified diff nor a {SUFFIX} file with edits")
    return DiffChange(path.name, text)


def own_patches() -> dict[str, Traversable]:
    """Return the patches that kvmabi brings along, name to file."""
    found = (one for one in resources.files(PATCHES).iterdir() if one.name.endswith(SUFFIX))
    return {one.name.removesuffix(SUFFIX): one for one in sorted(found, key=lambda one: one.name)}
