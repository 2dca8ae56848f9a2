"""DWARF -> records and constants, as a compiler laid them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from elftools.common.exceptions import DWARFError, ELFError, ELFParseError
from elftools.elf.elffile import ELFFile

from kvmabi.abi.model import Array, Enum, Enumerator, Field, Pointer, Record, Scalar, Type, Unknown
from kvmabi.errors import AbiError

_RECORDS: Final = {"DW_TAG_structure_type": "struct", "DW_TAG_union_type": "union"}
_TRANSPARENT: Final = frozenset(
    {"DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type"}
)
# DW_ATE values: boolean, float, signed, signed char, unsigned, unsigned char.
_ENCODINGS: Final[dict[int, tuple[str, bool]]] = {
    2: ("bool", False),
    4: ("float", True),
    5: ("int", True),
    6: ("char", True),
    7: ("int", False),
    8: ("char", False),
}


@dataclass(slots=True)
class CompiledAbi:
    """What an object file says: records and enumerators from its DWARF, bytes from its symbols.

    Records with a tag are under the tag, those that only a typedef names under the typedef.
    Alignments are 0: DWARF does not have them.
    """

    byte_order: str
    records: dict[str, Record] = field(default_factory=dict)
    enumerators: dict[str, Enumerator] = field(default_factory=dict)
    _symbols: dict[str, bytes] = field(default_factory=dict)

    def integers(self, symbol: str, size_bytes: int) -> list[int]:
        """The unsigned numbers of an array of constants; AbiError if there is none so called."""
        if symbol not in self._symbols:
            raise AbiError(f"the compiled object has no {symbol}")
        data = self._symbols[symbol]
        order: Any = self.byte_order
        return [
            int.from_bytes(data[at : at + size_bytes], order)
            for at in range(0, len(data), size_bytes)
        ]


def read_object(path: Path) -> CompiledAbi:
    """The records, enumerators and symbols of a linked ELF file; AbiError without DWARF."""
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            if not elf.has_dwarf_info():
                raise AbiError(f"{path.name}: no DWARF in this file")
            result = CompiledAbi("little" if elf.little_endian else "big")
            result._symbols = dict(_symbols(elf))  # noqa: SLF001
            for unit in elf.get_dwarf_info().iter_CUs():
                _Unit(result).read(unit.get_top_DIE())
            return result
    except (ELFError, ELFParseError, DWARFError) as problem:
        raise AbiError(f"{path.name}: {problem}") from None


def _symbols(elf: Any) -> Iterator[tuple[str, bytes]]:
    table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
    for symbol in table.iter_symbols() if table else ():
        index = symbol["st_shndx"]
        if not isinstance(index, int) or symbol["st_info"]["type"] != "STT_OBJECT":
            continue
        section = elf.get_section(index)
        if section["sh_type"] == "SHT_NOBITS":
            continue
        start = symbol["st_value"] - section["sh_addr"]
        yield symbol.name, section.data()[start : start + symbol["st_size"]]


class _Unit:
    """Reads one compilation unit; a type that was read once is kept by its place."""

    def __init__(self, result: CompiledAbi) -> None:
        self._result = result
        self._types: dict[int, Type] = {}

    def read(self, top: Any) -> None:
        """Take in all types of a unit, also those inside of other types."""
        for die in top.iter_children():
            self._take(die)

    def _take(self, die: Any) -> None:
        if die.tag == "DW_TAG_typedef":
            type_ = self._type(die)
            if isinstance(type_, Record) and type_.tag is None:
                self._result.records.setdefault(_text(die, "DW_AT_name") or "", type_)
            return
        if die.tag in _RECORDS:
            type_ = self._at(die)
            if isinstance(type_, Record) and type_.tag is not None:
                self._result.records[type_.tag] = type_
            for child in die.iter_children():
                self._take(child)
        elif die.tag == "DW_TAG_enumeration_type":
            type_ = self._at(die)
            if isinstance(type_, Enum):
                self._result.enumerators.update({e.name: e for e in type_.enumerators})

    def _type(self, die: Any) -> Type:
        """The type that a DIE refers to."""
        if "DW_AT_type" not in die.attributes:
            return Scalar("void", "void", 0, 1, signed=False)
        return self._at(die.get_DIE_from_attribute("DW_AT_type"))

    def _at(self, die: Any) -> Type:
        if die.offset not in self._types:
            self._types[die.offset] = Unknown("a type that holds itself")
            self._types[die.offset] = self._read_type(die)
        return self._types[die.offset]

    def _read_type(self, die: Any) -> Type:
        if die.tag in _TRANSPARENT:
            return self._type(die)
        if die.tag in _RECORDS:
            return self._record(die)
        if die.tag == "DW_TAG_base_type":
            return _base(die)
        if die.tag == "DW_TAG_pointer_type":
            return Pointer()
        if die.tag == "DW_TAG_array_type":
            return self._array(die)
        if die.tag == "DW_TAG_enumeration_type":
            return self._enum(die)
        return Unknown(die.tag)

    def _array(self, die: Any) -> Type:
        type_ = self._type(die)
        for dimension in reversed([c for c in die.iter_children() if "subrange" in c.tag]):
            count = _number(dimension, "DW_AT_count")
            last = _number(dimension, "DW_AT_upper_bound")
            if count is None and last is not None:
                count = last + 1
            type_ = Array(type_, count, type_.alignment)
        return type_

    def _enum(self, die: Any) -> Enum:
        under = self._type(die)
        tag = _text(die, "DW_AT_name")
        signed = isinstance(under, Scalar) and under.signed
        entries = tuple(
            Enumerator(_text(c, "DW_AT_name") or "", _number(c, "DW_AT_const_value") or 0, tag, "")
            for c in die.iter_children()
            if c.tag == "DW_TAG_enumerator"
        )
        size = _number(die, "DW_AT_byte_size") or 0
        return Enum(tag, size, size, signed, entries)

    def _record(self, die: Any) -> Type:
        tag = _text(die, "DW_AT_name")
        if "DW_AT_declaration" in die.attributes:
            return Unknown(f"{tag} is only declared")
        fields = tuple(self._field(c) for c in die.iter_children() if c.tag == "DW_TAG_member")
        kind: Any = _RECORDS[die.tag]
        size = _number(die, "DW_AT_byte_size") or 0
        return Record(
            tag or "", kind, tag, size, 0, fields, "", _number(die, "DW_AT_decl_line") or 0
        )

    def _field(self, die: Any) -> Field:
        type_ = self._type(die)
        width = _number(die, "DW_AT_bit_size")
        start = _number(die, "DW_AT_data_bit_offset")
        offset = _number(die, "DW_AT_data_member_location") or 0
        if width is not None and start is None:
            raise AbiError("a bit-field in the DWARF of before version 4")
        if start is not None:
            offset = start // 8
        return Field(_text(die, "DW_AT_name"), type_, "", offset, type_.size, start, width)


def _base(die: Any) -> Type:
    encoding = _number(die, "DW_AT_encoding") or 0
    size = _number(die, "DW_AT_byte_size") or 0
    if encoding not in _ENCODINGS:
        return Unknown(f"a base type of encoding {encoding}")
    kind: Any
    kind, signed = _ENCODINGS[encoding]
    return Scalar(_text(die, "DW_AT_name") or "", kind, size, size, signed)


def _text(die: Any, name: str) -> str | None:
    found = die.attributes.get(name)
    if found is None:
        return None
    value: bytes = found.value
    return value.decode("utf-8", "replace") or None


def _number(die: Any, name: str) -> int | None:
    found = die.attributes.get(name)
    return found.value if found is not None and isinstance(found.value, int) else None
