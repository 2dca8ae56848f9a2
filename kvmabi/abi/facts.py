"""Abi -> the facts that programs depend on, flat: what a snapshot keeps and a diff compares.

A record's members are named by their path ("io.direction"), through members that have no tag, at
their offset in the record; an anonymous member adds nothing to a path. So a fact does not change
when a header is written another way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from kvmabi.abi.compare import element_of, shape
from kvmabi.abi.emit import in_abi, needed_records
from kvmabi.abi.model import Abi, Array, Field, FunctionMacro, Macro, Record

_GUARD: Final = re.compile(r"_*(?:UAPI)?_*(?:LINUX|ASM|ARM)_(?:\w*_)?KVM\w*_H_*|_*KVM\w*_H_*")


@dataclass(frozen=True, slots=True)
class FieldFact:
    """Where a member is, in bits from its record's start, and what it is to memory."""

    bit: int
    bits: int
    shape: str

    @property
    def end(self) -> int:
        """The bit behind it."""
        return self.bit + self.bits

    def __str__(self) -> str:
        return self.shape if self.bits % 8 == 0 else f"{self.bits} bits of {self.shape}"


@dataclass(frozen=True, slots=True)
class RecordFact:
    """A struct or union; sizes are in bytes, fields by their path."""

    kind: Literal["struct", "union"]
    size: int
    alignment: int
    fields: Mapping[str, FieldFact]


@dataclass(frozen=True, slots=True)
class ConstantFact:
    """A macro or an enumerator; `alias` is the name that a macro stands for, or empty."""

    kind: Literal["macro", "enumerator"]
    value: int | str | None
    alias: str = ""
    hexadecimal: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        if isinstance(self.value, int):
            return hex(self.value) if self.hexadecimal else str(self.value)
        return "nothing" if self.value is None else repr(self.value)


@dataclass(frozen=True, slots=True)
class IoctlFact:
    """An ioctl: number, direction ("", "R", "W", "RW"), argument's size in bytes and its type."""

    number: int
    direction: str
    size: int
    argument: str

    def __str__(self) -> str:
        return f"{self.number:#x}"


@dataclass(frozen=True, slots=True)
class FunctionFact:
    """A function-like macro: its parameters, and a digest of its body's tokens."""

    parameters: str
    digest: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of one architecture, by name. `opaque` are names without a value, and why."""

    records: Mapping[str, RecordFact]
    constants: Mapping[str, ConstantFact]
    ioctls: Mapping[str, IoctlFact]
    functions: Mapping[str, FunctionFact]
    opaque: Mapping[str, str]


def facts_of(abi: Abi) -> Facts:
    """The facts of KVM's own names in an Abi."""
    constants = {
        item.name: ConstantFact("enumerator", item.value)
        for item in abi.enumerators.values()
        if in_abi(item.origin)
    }
    for macro in abi.macros.values():
        # Headers name an enumerator by a macro too, so that programs can ask for it by #ifdef.
        if macro.alias_of == macro.name and macro.name in constants:
            continue
        if in_abi(macro.origin) and macro.kind != "opaque" and not _GUARD.fullmatch(macro.name):
            constants[macro.name] = _constant(macro)
    return Facts(
        records={
            record.name: record_fact(record)
            for record in needed_records(abi)
            if record.tag is not None or record.name in abi.typedefs
        },
        constants=constants,
        ioctls={
            item.name: IoctlFact(item.number, item.direction, item.size, item.argument or "")
            for item in abi.ioctls.values()
            if in_abi(item.origin)
        },
        functions={
            item.name: _function(item) for item in abi.functions.values() if in_abi(item.origin)
        },
        opaque={item.name: item.reason for item in abi.opaque.values() if in_abi(item.origin)},
    )


def _constant(macro: Macro) -> ConstantFact:
    return ConstantFact("macro", macro.value, macro.alias_of or "", macro.hexadecimal)


def _function(macro: FunctionMacro) -> FunctionFact:
    parameters = ", ".join((*macro.parameters, *(["..."] if macro.variadic else [])))
    digest = hashlib.sha256("".join(macro.body.split()).encode()).hexdigest()
    return FunctionFact(parameters, digest[:12])


def record_fact(record: Record) -> RecordFact:
    """A record with its members flat."""
    fields = dict(_fields(record, "", 0))
    return RecordFact(record.kind, record.size, record.alignment, fields)


def _fields(record: Record, prefix: str, base: int) -> Iterator[tuple[str, FieldFact]]:
    for member in record.fields:
        start = base + member.offset * 8
        inner = element_of(member.type)
        without_tag = isinstance(inner, Record) and inner.tag is None
        if member.name is None:
            if isinstance(inner, Record):
                yield from _fields(inner, prefix, start)
            continue
        if member.size == 0 and member.name.startswith("__empty_"):
            continue  # what the kernel's macro for a flexible array in a union leaves behind
        path = f"{prefix}{member.name}"
        yield path, _field(member, base)
        if without_tag:
            assert isinstance(inner, Record)
            brackets = "[]" if isinstance(member.type, Array) else ""
            yield from _fields(inner, f"{path}{brackets}.", start)


def _field(member: Field, base: int) -> FieldFact:
    text = shape(member.type).replace("[0]", "[]")
    if member.bit_offset is not None and member.bit_width is not None:
        return FieldFact(base + member.bit_offset, member.bit_width, text)
    return FieldFact(base + member.offset * 8, member.size * 8, text)
