"""What a user names with --patch: one of our patches, a file in our own language, or a diff."""

from __future__ import annotations

import os
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
GIT: Final = ("git", "git")
"""The program that applies diffs, and its package."""
_HUNK: Final = re.compile(r"^@@ ", re.MULTILINE)
_ALONE: Final = {
    "GIT_DIR": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
}
"""Neither a repository around the tree nor a setting of the user's plays a part."""


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
    """Unified diffs, as git and diff -u write them, whose paths have one folder in front.

    They may be a series in which one follows upon another. Git tells what they name as well as
    applies them, so that the two are the same.
    """

    label: str
    content: str

    def files(self) -> frozenset[str]:
        """Return the files that they name, a renamed one by both its names."""
        rows = self._git("--numstat", "-z") + self._git("--numstat", "-z", "--reverse")
        return frozenset(row.split("\t", 2)[2] for row in rows.split("\0") if row)

    def make(self, tree: Path) -> None:
        """Apply them: every line of context must be there, and every file in the tree."""
        self._git(cwd=tree)

    def _git(self, *options: str, cwd: Path | None = None) -> str:
        tools.require([GIT])
        others = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", *options],
            cwd=cwd,
            env={**others, **_ALONE},
            input=self.content.encode("utf-8", "surrogateescape"),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            said = "\n  ".join(os.fsdecode(done.stderr).splitlines()[-8:])
            raise UsageError(f"the patch {self.label} does not apply:\n  {said}")
        return os.fsdecode(done.stdout)


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
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"the patch {path} cannot be read: {error.strerror}") from None
    if text.count("\n") == text.count("\r\n"):  # as some mail programs save all that they save
        text = text.replace("\r\n", "\n")
    if not _HUNK.search(text):
        raise UsageError(f"{path} is neither a unified diff nor a {SUFFIX} file with edits")
    return DiffChange(path.name, text)


def own_patches() -> dict[str, Traversable]:
    """Return the patches that kvmabi brings along, name to file."""
    found = (one for one in resources.files(PATCHES).iterdir() if one.name.endswith(SUFFIX))
    return {one.name.removesuffix(SUFFIX): one for one in sorted(found, key=lambda one: one.name)}
