"""Seeded kernel faults: rows of TOML files, one file a subject.

A file gives what its rows share, and a row is one fault::

    about = "which writes a registration takes"
    file = "virt/kvm/eventfd.c"
    in = "ioeventfd_in_range"

    [[fault]]
    name = "length-ignored"
    promise = 4                         # the one that a case sees broken by it
    about = "a write narrower than the registration matches"
    look = ["match-*-w2-at0-write"]     # optional: where it is likely to show
    needs = "svm"                       # optional, see `Needs`
    find = "len != p->length"           # an edit as in a patch (see `kvmabi.lab.build.patch`),
    replace = "0"                       # or several: edit = [{...}, {...}]

`unseen` says why a fault cannot be seen from outside, `harmless` why a change is no fault at all:
a negative control, which must survive.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from kvmabi.errors import UsageError
from kvmabi.ioeventfd.promises import PROMISES
from kvmabi.lab.build.patch import Patch, parse_edit

_SHARED: Final = ("file", "in")
_FILE_KEYS: Final = frozenset({"about", "fault", *_SHARED})
_OWN: Final = frozenset({"name", "promise", "about", "look", "needs", "unseen", "harmless", "edit"})


class Needs(StrEnum):
    """What it takes to see a fault."""

    SVM = "svm"
    VMX = "vmx"
    DEBUG = "debug"
    """A kernel that looks for leaks."""
    PV_MMIO = "pv-mmio"
    """A kernel with our patch of that name."""
    RACE = "race"
    """Threads that race: none of the matrix's cases does."""
    FAILSLAB = "failslab"
    """An allocation that fails at the right moment."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One change to the kernel, and what is to be expected of it.

    `promise` is the number of the promise that a case is to see broken by it, 0 for a change that
    is harmless.
    """

    name: str
    promise: int
    about: str
    subject: str
    patch: Patch
    look: tuple[str, ...] = ()
    needs: Needs = Needs.SVM
    unseen: str = ""
    harmless: str = ""

    @property
    def must_be_killed(self) -> bool:
        """Whether the matrix is to notice it."""
        return not (self.harmless or self.unseen)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it changes, in the tree."""
        return tuple(sorted({edit.file for edit in self.patch.edits}))


def read_faults(folder: Path) -> list[Fault]:
    """Return the faults of all TOML files in a folder, file by file.

    Raises UsageError that names the file, and the row, where one is not as it should be.
    """
    found: list[Fault] = []
    for path in sorted(folder.glob("*.toml")):
        found += _of_file(path)
    names = [fault.name for fault in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{folder} has two faults of one name: {', '.join(twice)}")
    return found


def choose(faults: Sequence[Fault], names: Sequence[str]) -> list[Fault]:
    """Return the faults of these names, in that order; UsageError for an unknown one."""
    known = {fault.name: fault for fault in faults}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no fault {', '.join(unknown)}; --list shows them")
    return [known[name] for name in names]


def _of_file(path: Path) -> list[Fault]:
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the faults of {path} cannot be read: {error}") from None
    if unknown := sorted(document.keys() - _FILE_KEYS):
        raise UsageError(f"{path}: a file of faults has no {', '.join(unknown)}")
    shared = {str(key): document[key] for key in _SHARED if key in document}
    rows = document.get("fault", [])
    return [parse_fault(row, shared, f"{path.name}, fault {at}") for at, row in enumerate(rows, 1)]


def parse_fault(row: Mapping[str, Any], shared: Mapping[str, str], label: str) -> Fault:
    """Return the fault that a TOML table describes; `shared` is what its file says for all rows."""
    own = {key: row[key] for key in row.keys() & _OWN}
    edit = {key: row[key] for key in row.keys() - _OWN}
    try:
        return _fault(own, [{**shared, **edit, **one} for one in own.get("edit", [{}])], label)
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"{label}: {error}") from None
    except UsageError as error:
        raise UsageError(f"{label} ({row.get('name', '?')}): {error}") from None


def _fault(own: Mapping[str, Any], edits: Sequence[Mapping[str, Any]], label: str) -> Fault:
    harmless = own.get("harmless", "")
    promise = own.get("promise", 0)
    if promise not in PROMISES and not (harmless and promise == 0):
        raise UsageError(f"{promise} is no number of a promise")
    name, about = own["name"], own["about"]
    return Fault(
        name=name,
        promise=promise,
        about=about,
        subject=label.partition(".")[0],
        patch=Patch(name, about, tuple(parse_edit(_filled(one)) for one in edits)),
        look=tuple(own.get("look", ())),
        needs=Needs(own.get("needs", Needs.SVM)),
        unseen=own.get("unseen", ""),
        harmless=harmless,
    )


def _filled(edit: Mapping[str, Any]) -> dict[str, Any]:
    """Return an edit without an empty scope, with which a row leaves that of its file."""
    return {key: value for key, value in edit.items() if (key, value) != ("in", "")}
