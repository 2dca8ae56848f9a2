"""BTF, the type information that a kernel carries: what this very kernel was compiled with.

Reads `/sys/kernel/btf/vmlinux`, and the split BTF of modules beside it, with the standard library
alone; so it works inside a kernel under test too.

Source: the kernel's Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
"""

from __future__ import annotations

import array
import re
import struct
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.errors import AbiError

FOLDER: Final = Path("/sys/kernel/btf")
MODULES: Final = ("kvm", "vmlinux")
"""Where KVM's types are: in its module's own BTF, or in the kernel's where it is built in."""

_MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("=HBBIIIII")
_MAX_BYTES: Final = 256 << 20

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = range(1, 9)
FUNC_PROTO, VAR, DATASEC, DECL_TAG, ENUM64 = 13, 14, 15, 17, 19

# Words behind a type's own three: (always, for each of its `vlen`). The kinds without a name here
# are volatile, const, restrict, function, float and type tag.
_EXTRA_WORDS: Final = {
    **dict.fromkeys((PTR, FWD, TYPEDEF, 9, 10, 11, 12, 16, 18), (0, 0)),
    **dict.fromkeys((INT, VAR, DECL_TAG), (1, 0)),
    **dict.fromkeys((ENUM, FUNC_PROTO), (0, 2)),
    **dict.fromkeys((STRUCT, UNION, DATASEC, ENUM64), (0, 3)),
    ARRAY: (3, 0),
}


@dataclass(frozen=True, slots=True)
class Btf:
    """One BTF object: its types as 32-bit `words`; a split one has the kernel's as `base`."""

    name: str
    words: array.array[int]
    strings: bytes
    base: Btf | None = None

    @classmethod
    def read(cls, path: Path, base: Btf | None = None) -> Btf:
        """The BTF at `path`; AbiError if it is none, OSError if it cannot be read."""
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES)
        return cls.parse(data, path.name, base)

    @classmethod
    def parse(cls, data: bytes, name: str, base: Btf | None = None) -> Btf:
        """The BTF in these bytes; AbiError where they are none, or cut short."""
        if len(data) < _HEADER.size:
            raise AbiError(f"{name}: {len(data)} bytes are too few for BTF")
        swapped = struct.unpack_from("=H", data)[0] == struct.unpack(">H", b"\x9f\xeb")[0]
        header = struct.Struct((">" if sys.byteorder == "little" else "<") + "HBBIIIII")
        fields = (header if swapped else _HEADER).unpack_from(data)
        magic, version, _flags, length, type_at, type_size, string_at, string_size = fields
        if magic != _MAGIC or version != 1:
            raise AbiError(f"{name}: no BTF of version 1 (magic {magic:#x}, version {version})")
        types = data[length + type_at : length + type_at + type_size]
        strings = data[length + string_at : length + string_at + string_size]
        if len(types) != type_size or len(strings) != string_size or type_size % 4:
            raise AbiError(f"{name}: the BTF is cut short")
        words = array.array("I", types)
        if swapped:
            words.byteswap()
        return cls(name, words, strings, base)

    @property
    def string_start(self) -> int:
        """The offset that this object's first string has; those below it are the base's."""
        return len(self.base.strings) if self.base is not None else 0

    def types(self) -> Iterator[tuple[int, int, int, int]]:
        """(position of its first word, kind, vlen, kind flag) of each type, in order of their ids.

        AbiError for a kind that is not known, since nothing behind it can be found.
        """
        words = self.words
        extra = _EXTRA_WORDS
        position, end = 0, len(words)
        while position < end - 2:
            info = words[position + 1]
            kind, vlen = info >> 24 & 0x1F, info & 0xFFFF
            if kind not in extra:
                raise AbiError(f"{self.name}: unknown BTF kind {kind} at word {position}")
            always, each = extra[kind]
            behind = position + 3 + always + each * vlen
            if behind > end:
                break
            yield position, kind, vlen, info >> 31
            position = behind
        if position != end:
            raise AbiError(f"{self.name}: the last BTF type is cut short")

    def offsets(self, wanted: str | Collection[str]) -> dict[int, str]:
        """The strings called so, by the offsets that types use; a str is a prefix of names."""
        found = self.base.offsets(wanted) if self.base is not None else {}
        for match in _pattern(wanted).finditer(self.strings):
            found[match.start(1) + self.string_start] = match.group(1).decode("ascii", "replace")
        return found

    def enumerators(self, wanted: str | Collection[str]) -> dict[str, int]:
        """Values of the enumerators called so, by name; those that are not there are left out.

        `wanted` are names, or a str that their names start with. Where several enums have the name,
        the first one counts. Ends as soon as all names are found.
        """
        offsets = self.offsets(wanted)
        names = set(offsets.values())
        found: dict[str, int] = {}
        words = self.words
        for position, kind, vlen, flag in self.types() if offsets else ():
            if kind not in (ENUM, ENUM64):
                continue
            step = 2 if kind == ENUM else 3
            first = position + 3
            for at in range(first, first + step * vlen, step):
                if words[at] in offsets:
                    high = words[at + 2] if kind == ENUM64 else 0
                    value = words[at + 1] | high << 32
                    value = signed(value, kind) if flag else value
                    found.setdefault(offsets[words[at]], value)
            if len(found) == len(names):
                break
        return found


def _pattern(wanted: str | Collection[str]) -> re.Pattern[bytes]:
    if isinstance(wanted, str):
        return re.compile(rb"(?<![^\0])(" + re.escape(wanted.encode()) + rb"[^\0]*)(?=\0)")
    names = b"|".join(re.escape(name.encode()) for name in sorted(wanted)) or b"(?!)"
    return re.compile(rb"(?<![^\0])(" + names + rb")(?=\0)")


def signed(value: int, kind: int) -> int:
    """The value of a signed enumerator, whose enum is of this kind, from its unsigned words."""
    bits = 32 if kind == ENUM else 64
    return value - (1 << bits) if value >> (bits - 1) else value


def enumerators(wanted: str | Collection[str], *, folder: Path = FOLDER) -> dict[str, int]:
    """Values of the running kernel's enumerators called so, by name; without those it has not.

    `wanted` are names, or a str that their names start with. KVM's module counts before the kernel
    itself. Without readable BTF there is nothing to find, and the answer is empty; AbiError where
    what is there is no BTF.
    """
    found: dict[str, int] = {}
    for btf in _objects(folder):
        for name, value in btf.enumerators(wanted).items():
            found.setdefault(name, value)
        if not isinstance(wanted, str) and len(found) == len(set(wanted)):
            break
    return found


def _objects(folder: Path) -> Iterator[Btf]:
    try:
        kernel = Btf.read(folder / "vmlinux")
    except OSError:
        return
    for name in MODULES:
        if name == "vmlinux":
            yield kernel
            continue
        try:
            yield Btf.read(folder / name, kernel)
        except OSError:
            continue
