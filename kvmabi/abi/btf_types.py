"""BTF -> records with layouts, as the kernel's own compiler laid them out.

Source: the kernel's Documentation/bpf/btf.rst.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection
from pathlib import Path
from typing import Final

from kvmabi.abi import btf
from kvmabi.abi.btf import Btf
from kvmabi.abi.model import Array, Enum, Enumerator, Field, Pointer, Record, Scalar, Type, Unknown
from kvmabi.errors import AbiError

FLOAT: Final = 16
_MODIFIERS: Final = frozenset({btf.TYPEDEF, 9, 10, 11, 18})
"""Kinds that stand for the type that they name: besides typedef those that the kernel calls
volatile, const, restrict and type tag."""
_MAX_DEPTH: Final = 64
_VOID: Final = Scalar("void", "void", 0, 1, signed=False)


class BtfTypes:
    """The types of one BTF object and, where it is a split one, of the kernel's below it.

    Alignments are 0: BTF does not have them. AbiError where the BTF contradicts itself.
    """

    def __init__(self, source: Btf, base: BtfTypes | None = None) -> None:
        self.source = source
        self._base = base
        self._first = base.end if base is not None else 1
        self._positions = array("L", (position for position, *_ in source.types()))
        self._types: dict[int, Type] = {}

    @property
    def end(self) -> int:
        """The id behind the last type's."""
        return self._first + len(self._positions)

    def name(self, offset: int) -> str:
        """The string at an offset that a type has."""
        if offset < self.source.string_start:
            return self._base.name(offset) if self._base is not None else ""
        strings = self.source.strings
        start = offset - self.source.string_start
        if start >= len(strings):
            raise AbiError(f"{self.source.name}: a name at {offset}, behind all strings")
        end = strings.find(b"\0", start)
        return strings[start : end if end >= 0 else None].decode("utf-8", "replace")

    def records(self, wanted: str | Collection[str]) -> dict[str, list[Record]]:
        """The structs and unions called so, by name; a str is a prefix of names.

        A kernel may have several of one name, in files that do not know each other.
        """
        offsets = self.source.offsets(wanted)
        found: dict[str, list[Record]] = {}
        words = self.source.words
        kinds = (btf.STRUCT, btf.UNION)
        for index, position in enumerate(self._positions):
            if words[position] in offsets and words[position + 1] >> 24 & 0x1F in kinds:
                type_ = self.type(self._first + index)
                if isinstance(type_, Record):
                    found.setdefault(type_.name, []).append(type_)
        return found

    def type(self, number: int, depth: int = 0) -> Type:
        """The type of an id; 0 is void."""
        if number == 0:
            return _VOID
        if number < self._first:
            assert self._base is not None
            return self._base.type(number, depth)
        if number not in self._types:
            if number >= self.end or depth > _MAX_DEPTH:
                problem = "behind all types" if number >= self.end else "inside of too many others"
                raise AbiError(f"{self.source.name}: type {number} is {problem}")
            self._types[number] = Unknown("a type that holds itself")
            self._types[number] = self._read(self._positions[number - self._first], depth + 1)
        return self._types[number]

    def _read(self, at: int, depth: int) -> Type:
        words = self.source.words
        kind = words[at + 1] >> 24 & 0x1F
        if kind in _MODIFIERS:
            return self.type(words[at + 2], depth)
        if kind in (btf.STRUCT, btf.UNION):
            return self._record(at, depth)
        if kind == btf.ARRAY:
            element = self.type(words[at + 3], depth)
            return Array(element, words[at + 5] or None, element.alignment)
        if kind == btf.PTR:
            return Pointer()
        if kind == btf.INT:
            return self._integer(at)
        if kind in (btf.ENUM, btf.ENUM64):
            return self._enum(at, kind)
        if kind == FLOAT:
            return Scalar(self.name(words[at]), "float", words[at + 2], 0, signed=True)
        return Unknown(f"BTF kind {kind} has no layout")

    def _integer(self, at: int) -> Scalar:
        words = self.source.words
        size, encoding = words[at + 2], words[at + 3] >> 24
        if encoding & 4:
            return Scalar(self.name(words[at]), "bool", size, 0, signed=False)
        return Scalar(self.name(words[at]), "int", size, 0, signed=bool(encoding & 1))

    def _enum(self, at: int, kind: int) -> Enum:
        words = self.source.words
        step = 2 if kind == btf.ENUM else 3
        signed = bool(words[at + 1] >> 31)
        tag = self.name(words[at]) or None
        entries = []
        for entry in range(at + 3, at + 3 + step * (words[at + 1] & 0xFFFF), step):
            value = words[entry + 1] | (words[entry + 2] << 32 if step == 3 else 0)
            value = btf.signed(value, kind) if signed else value
            entries.append(Enumerator(self.name(words[entry]), value, tag, ""))
        return Enum(tag, words[at + 2], 0, signed, tuple(entries))

    def _record(self, at: int, depth: int) -> Record:
        words = self.source.words
        info = words[at + 1]
        fields = tuple(
            self._field(member, flagged=bool(info >> 31), depth=depth)
            for member in range(at + 3, at + 3 + 3 * (info & 0xFFFF), 3)
        )
        tag = self.name(words[at]) or None
        kind: Final = "struct" if info >> 24 & 0x1F == btf.STRUCT else "union"
        return Record(tag or "", kind, tag, words[at + 2], 0, fields, "", 0)

    def _field(self, at: int, *, flagged: bool, depth: int) -> Field:
        words = self.source.words
        type_ = self.type(words[at + 1], depth)
        place = words[at + 2]
        width = place >> 24 if flagged else 0
        start = place & 0xFFFFFF if flagged else place
        bits = (start, width) if width else (None, None)
        return Field(self.name(words[at]) or None, type_, "", start // 8, type_.size, *bits)


def running_kernel(folder: Path = btf.FOLDER) -> list[BtfTypes]:
    """The types of KVM's module, if it has BTF of its own, and those of the running kernel.

    AbiError where the kernel has no readable BTF, or what is there is none.
    """
    try:
        kernel = BtfTypes(Btf.read(folder / "vmlinux"))
    except OSError as error:
        raise AbiError(
            f"{folder / 'vmlinux'}: {error.strerror}; this needs a kernel built with"
            " CONFIG_DEBUG_INFO_BTF, and permission to read that file"
        ) from None
    found = [kernel]
    for name in btf.MODULES:
        if name == "vmlinux":
            continue
        try:
            found.insert(0, BtfTypes(Btf.read(folder / name, kernel.source), kernel))
        except OSError:
            continue
    return found
