"""Headers that somebody has sanitised already: installed folders, packages, imported sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kvmabi.arch import ARCHITECTURES, Architecture
from kvmabi.errors import HeaderError
from kvmabi.headersets.files import Files
from kvmabi.headersets.origin import Origin

COMMON: Final = "common"
"""The folder of an imported set for what all architectures have alike."""

_GUARD_WORDS: Final = {
    "X86": "x86", "ARM64": "arm64", "ARM": "arm64", "RISCV": "riscv", "S390": "s390",
    "POWERPC": "powerpc", "LOONGARCH": "loongarch", "MIPS": "mips",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Installed:
    """Headers in folders: `folders` are those of each architecture, in the order of a search."""

    files: Files
    origin: Origin
    folders: Mapping[str, tuple[str, ...]]

    def read(self, architecture: Architecture, name: str) -> bytes | None:
        """A header; None if there is none."""
        for folder in self.folders.get(architecture.name, ()):
            data = self.files.read(f"{folder}/{name}" if folder else name)
            if data is not None:
                return data
        return None


def zig_folders() -> dict[str, tuple[str, ...]]:
    """The folders of each architecture in the headers of the Zig compiler."""
    return {arch.name: (arch.header_dir, "any-linux-any") for arch in ARCHITECTURES.values()}


def set_folders() -> dict[str, tuple[str, ...]]:
    """The folders of each architecture in an imported set."""
    return {arch.name: (arch.name, COMMON) for arch in ARCHITECTURES.values()}


def debian_folders(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The folders of each architecture in a Debian package or system, by the paths that it has."""
    found: dict[str, tuple[str, ...]] = {}
    for path in paths:
        match = re.fullmatch(
            r"((?:.*/)?(?:usr/include|usr/lib/linux/uapi)/([^/]+))/asm/kvm\.h", path
        )
        if match is None:
            continue
        for arch in ARCHITECTURES.values():
            machine = match.group(2).partition("-")[0]
            if machine in (arch.name, *arch.machines, arch.zig_target.partition("-")[0]):
                found[arch.name] = (match.group(1), "usr/include")
    return found


def architecture_of(kvm_h: bytes, where: str) -> str:
    """The architecture whose asm/kvm.h this is, by its include guard; HeaderError if unknown."""
    match = re.search(rb"^\s*#\s*ifndef\s+(\w+)", kvm_h, re.MULTILINE)
    guard = match.group(1).decode() if match else ""
    for word, name in _GUARD_WORDS.items():
        if word in guard.split("_"):
            return name
    raise HeaderError(
        f"of which architecture is this? (its include guard is {guard!r})", file=where
    )
