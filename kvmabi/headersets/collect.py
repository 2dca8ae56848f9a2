"""What a set holds: the headers that KVM's need, of every architecture that has KVM."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.arch import ARCHITECTURES, Architecture
from kvmabi.errors import UsageError
from kvmabi.header import HeaderTree, parse
from kvmabi.headersets.installed import COMMON
from kvmabi.headersets.origin import Source, version_of

ROOTS: Final = ("linux/kvm.h", "asm/kvm.h", "linux/version.h")
_INCLUDE: Final = re.compile(rb"^[ \t]*#[ \t]*include[ \t]*[<\"]([\w./+-]+)[>\"]", re.MULTILINE)
_MAX_FILES: Final = 5000


@dataclass(frozen=True, slots=True)
class Collected:
    """Headers by their path in a set, and what is known of them.

    `absent` are the architectures that the source has no KVM for, with the reason.
    """

    files: dict[str, bytes]
    version: str
    architectures: tuple[str, ...]
    absent: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write the files below a folder."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def collect(
    source: Source,
    architectures: Sequence[Architecture] = tuple(ARCHITECTURES.values()),
    more: Iterable[str] = (),
) -> Collected:
    """linux/kvm.h, linux/version.h, `more`, and all that they include, of each architecture.

    UsageError where the source has KVM's headers for none of them.
    """
    found: dict[str, dict[str, bytes]] = {}
    absent: dict[str, str] = {}
    for architecture in architectures:
        missing = [
            name for name in ("linux/kvm.h", "asm/kvm.h") if source.read(architecture, name) is None
        ]
        if missing:
            absent[architecture.name] = f"{missing[0]} is not there"
        else:
            found[architecture.name] = _closure(source, architecture, [*ROOTS, *more])
    if not found:
        reasons = "; ".join(sorted(set(absent.values())))
        raise UsageError(f"{source.origin.name} has no headers of KVM: {reasons}")
    version = next(iter(found.values())).get("linux/version.h")
    if version is None:
        raise UsageError(f"{source.origin.name} has no linux/version.h")
    return Collected(_placed(found), version_of(version.decode("latin-1")), tuple(found), absent)


def _closure(source: Source, architecture: Architecture, todo: list[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    seen = set(todo)
    while todo:
        name = todo.pop()
        data = source.read(architecture, name)
        if data is None:
            continue  # parsing says so where the include is really reached
        found[name] = data
        if len(found) > _MAX_FILES:
            raise UsageError(f"{source.origin.name}: {name} leads to more than {_MAX_FILES} files")
        here = name.rpartition("/")[0]
        for match in _INCLUDE.findall(data):
            included = match.decode()
            todo += {included, f"{here}/{included}"} - seen
            seen |= {included, f"{here}/{included}"}
    return found


def _placed(found: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """Paths in the set: what all architectures have alike stands once."""
    everywhere = list(found.values())
    files: dict[str, bytes] = {}
    for arch_name, headers in found.items():
        for name, data in headers.items():
            alike = all(other.get(name, data) == data for other in everywhere)
            own = name.startswith("asm/") or not alike
            files[f"{arch_name if own else COMMON}/{name}"] = data
    return dict(sorted(files.items()))


def check(folder: Path, architectures: Iterable[str]) -> None:
    """HeaderError where the headers of an architecture cannot be read as C."""
    for name in architectures:
        architecture = ARCHITECTURES[name]
        tree = HeaderTree.of(folder / name, folder / COMMON)
        parse(tree, predefined=architecture.predefined)
