"""Patches in a language of our own: rows of C tokens to find and text to put there.

A patch is a TOML file, and one file serves several kernel versions::

    name = "signal-twice"
    about = "adds 2 to the eventfd where 1 was promised"

    [[edit]]
    file = "virt/kvm/eventfd.c"
    in = "ioeventfd_write"            # a function, "enum X" or "struct X"; without: all of the file
    find = "eventfd_signal($1);"      # C tokens, to be found exactly once there
    after = "eventfd_signal($1);"     # or before = "...", or replace = "..."
    since = "6.8"                     # optional: from this version on; until: below that version
    why = "the count is too high"     # optional

White space and comments play no part in `find`, and $1 to $9 stand for an expression (see
`kvmabi.lab.build.cedits.find`). Each edit sees what those before it have done. A patch goes in
whole or not at all.
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from kvmabi.errors import UsageError
from kvmabi.lab.build import cedits
from kvmabi.lab.build.cedits import Where
from kvmabi.lab.build.listing import may_hold

Version = tuple[int, ...]
_EDIT_KEYS: Final = frozenset({"file", "in", "find", "since", "until", "why", *Where})
_PATCH_KEYS: Final = frozenset({"name", "about", "edit"})
_VERSION_LINE: Final = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL)\s*=\s*(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: `replace` is the text that goes in instead of, before or after what is found.

    `file` is relative to the tree. `within` is a scope's name, or "" for the whole file. The edit
    belongs to versions from `since` to below `until`; an empty tuple sets no bound.
    """

    file: str
    find: str
    replace: str
    within: str = ""
    where: Where = Where.REPLACE
    since: Version = ()
    until: Version = ()
    why: str = ""

    def is_for(self, version: Version) -> bool:
        """Return whether the edit belongs to a kernel of this version."""
        late_enough = version[: len(self.since)] >= self.since
        return late_enough and (not self.until or version[: len(self.until)] < self.until)


@dataclass(frozen=True, slots=True)
class Patch:
    """A named change to a kernel's source."""

    name: str
    about: str
    edits: tuple[Edit, ...]


def parse_edit(row: Mapping[str, Any]) -> Edit:
    """Return the edit that a TOML table describes; UsageError says what is wrong with it."""
    if unknown := sorted(row.keys() - _EDIT_KEYS):
        raise UsageError(f"an edit has no {', '.join(unknown)}; it has {', '.join(_edit_keys())}")
    if wrong := sorted(key for key, value in row.items() if not isinstance(value, str)):
        raise UsageError(f"an edit's {wrong[0]} must be a string")
    kinds = [kind for kind in Where if kind in row]
    if len(kinds) != 1:
        raise UsageError("an edit needs exactly one of replace, before and after")
    for key in ("file", "find"):
        if not row.get(key, "").strip():
            raise UsageError(f"an edit needs a {key}")
    path = PurePosixPath(row["file"])
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(f"an edit's file must lie in the kernel's tree: {row['file']}")
    within = " ".join(row.get("in", "").split())
    if within and not cedits.is_scope(within):
        raise UsageError(f"an edit is in a function, an enum, a struct or a union, not in {within}")
    return Edit(
        file=str(path),
        find=row["find"],
        replace=row[kinds[0]],
        within=within,
        where=kinds[0],
        since=_version(row.get("since", "")),
        until=_version(row.get("until", "")),
        why=row.get("why", ""),
    )


def parse_patch(row: Mapping[str, Any], label: str) -> Patch:
    """Return the patch that a TOML document describes; `label` stands in errors."""
    if unknown := sorted(row.keys() - _PATCH_KEYS):
        raise UsageError(f"{label}: a patch has no {', '.join(unknown)}")
    rows = row.get("edit", [])
    tables = isinstance(rows, list) and all(isinstance(one, Mapping) for one in rows)
    if not isinstance(row.get("name"), str) or not tables or not rows:
        raise UsageError(f'{label}: a patch needs name = "..." and at least one [[edit]]')
    edits = []
    for number, one in enumerate(rows, 1):
        try:
            edits.append(parse_edit(one))
        except UsageError as error:
            raise UsageError(f"{label}, edit {number}: {error}") from None
    return Patch(row["name"], str(row.get("about", "")), tuple(edits))


def read_patch(path: Path | Traversable) -> Patch:
    """Return the patch in a TOML file; UsageError names the file where it cannot be read."""
    try:
        return parse_patch(tomllib.loads(path.read_text()), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the patch {path} cannot be read: {error}") from None


def apply(patch: Patch, tree: Path) -> tuple[Path, ...]:
    """Change a source tree by all of the patch's edits for its version; return the changed files.

    Every edit is tried on copies in memory before a file is written, so that UsageError (which
    names the patch, the edit, the file, the scope and how often the pattern was found) leaves the
    tree as it was. A file is replaced, so that hard links to it elsewhere keep the old text.
    """
    before: dict[Path, str] = {}
    after: dict[Path, str] = {}
    version = tree_version(tree) if any(one.since or one.until for one in patch.edits) else ()
    chosen = [(at, one) for at, one in enumerate(patch.edits, 1) if one.is_for(version)]
    if not chosen:
        raise UsageError(f"the patch {patch.name} has no edit for {'.'.join(map(str, version))}")
    for number, one in chosen:
        path = tree / one.file
        label = f"the patch {patch.name}, edit {number}: {one.file}"
        if not may_hold(tree, one.file):
            raise UsageError(f"{label} lies behind a symbolic link: name the file that is meant")
        if path not in before:
            before[path] = after[path] = _read(path, label)
        after[path] = edited(after[path], one, label)
    changed = {path: text for path, text in after.items() if text != before[path]}
    _write_all(changed, before)
    return tuple(changed)


def edited(text: str, one: Edit, label: str) -> str:
    """Return a file's text with an edit made; UsageError unless its place is found exactly once."""
    if one.within and not cedits.scopes(cedits.tokens(text), one.within):
        raise UsageError(f"{label} has no definition of {one.within}")
    found = cedits.find(text, one.find, one.within)
    if len(found) != 1:
        lines = ", ".join(str(cedits.line_of(text, match.start)) for match in found)
        raise UsageError(
            f"{label}: {' '.join(one.find.split())!r} is to be found once in "
            f"{one.within or 'the file'}, and is there {len(found)} times"
            + (f" (lines {lines})" if lines else "")
        )
    return cedits.edit(text, found[0], one.replace, one.where)


def tree_version(tree: Path) -> tuple[int, int, int]:
    """Return the version of a kernel's source tree; UsageError for a folder that is none."""
    try:
        found = dict(_VERSION_LINE.findall((tree / "Makefile").read_text(errors="replace")))
        return int(found["VERSION"]), int(found["PATCHLEVEL"]), int(found["SUBLEVEL"])
    except (OSError, KeyError):
        raise UsageError(
            f"{tree} is no kernel source tree: it has no Makefile with VERSION, PATCHLEVEL and "
            "SUBLEVEL"
        ) from None


def _version(text: str) -> Version:
    if text and not re.fullmatch(r"\d+(\.\d+){0,2}", text):
        raise UsageError(f"{text!r} is no kernel version, such as 6.1 or 6.12.3")
    return tuple(map(int, text.split("."))) if text else ()


def _edit_keys() -> list[str]:
    return ["file", "in", "find", *Where, "since", "until", "why"]


def _read(path: Path, label: str) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"{label}: {error.strerror}") from None


def _write_all(texts: Mapping[Path, str], old: Mapping[Path, str]) -> None:
    """Write every text; where one cannot be written, put the old ones back."""
    done: list[Path] = []
    try:
        for path, text in texts.items():
            _write(path, text)
            done.append(path)
    except OSError as error:
        for path in done:
            with suppress(OSError):
                _write(path, old[path])
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o7777
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".edit-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
