"""Where headers come from, as it is recorded with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from kvmabi.arch import Architecture
from kvmabi.errors import HeaderError

Kind = Literal[
    "kernel tree", "git commit", "kernel archive", "include folder", "package", "imported set"
]
Sanitised = Literal["make headers", "kvmabi", "its maker"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where headers come from.

    `name` says it to everybody ("linux-source-6.12_6.12.117-1_all.deb", a commit's id) and holds no
    path. `given` is what the user named, for an import again; it stays on the user's machine.
    `sha256` is that of the package's file, empty where there is none. `sanitised` is who made of
    the kernel's own headers those for programs.
    """

    kind: Kind
    name: str
    given: str
    sanitised: Sanitised
    sha256: str = ""

    def facts(self) -> dict[str, str]:
        """What may be published: all but `given`."""
        found = {"kind": self.kind, "name": self.name, "sanitised": self.sanitised}
        return {**found, "sha256": self.sha256} if self.sha256 else found


class Source(Protocol):
    """Headers of one kernel, for every architecture that it has."""

    @property
    def origin(self) -> Origin:
        """Where they come from."""

    def read(self, architecture: Architecture, name: str) -> bytes | None:
        """A header as programs get it ("linux/kvm.h"); None if there is none."""


_PARTS: Final = ("MAJOR", "PATCHLEVEL", "SUBLEVEL")


def version_of(text: str) -> str:
    """The kernel version ("6.12.117", "7.2") that a linux/version.h says; HeaderError if none."""
    found: Mapping[str, str] = dict(
        re.findall(r"^#\s*define\s+LINUX_VERSION_(\w+)\s+(\d+)\s*$", text, re.MULTILINE)
    )
    if all(part in found for part in _PARTS):
        numbers = [int(found[part]) for part in _PARTS]
    elif "CODE" in found:
        code = int(found["CODE"])
        numbers = [code >> 16, code >> 8 & 0xFF, code & 0xFF]
    else:
        raise HeaderError("says no LINUX_VERSION_CODE", file="linux/version.h")
    return ".".join(str(number) for number in (numbers if numbers[2] else numbers[:2]))


def series_of(version: str) -> str:
    """The first two numbers of a kernel version: "6.12" of "6.12.117"."""
    return ".".join(version.split(".")[:2])
