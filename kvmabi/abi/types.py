"""Type syntax -> types with layouts: typedefs, tags, enumerators and the sizes of arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from kvmabi.abi import basic
from kvmabi.abi.attributes import read_attributes
from kvmabi.abi.layout import Member, lay_out
from kvmabi.abi.model import (
    Array,
    Enum,
    Enumerator,
    Opaque,
    Pointer,
    Record,
    Scalar,
    Type,
    Unknown,
)
from kvmabi.arch import Architecture
from kvmabi.header import syntax
from kvmabi.header.evaluate import Scope, evaluate
from kvmabi.header.integers import INT, LONG, UINT, ULONG, CInteger, NotConstant
from kvmabi.header.unit import Declaration

_MAX_ARRAY_BYTES = 1 << 48


@dataclass(frozen=True, slots=True)
class Naming:
    """What a record without a tag is called, and what the records of its fields are named after.

    They differ for an anonymous member: its fields belong to the record around it.
    """

    own: str
    fields: str

    @classmethod
    def of(cls, name: str) -> Naming:
        """The naming of a record that is not anonymous."""
        return cls(name, name)

    def member(self, field: syntax.FieldSyntax, number: int) -> Naming:
        """The naming of a field's own record; `number` counts the anonymous ones from 1."""
        if field.name is None:
            return Naming(f"{self.own}__anon{number}", self.fields)
        return Naming.of(f"{self.fields}__{field.name}")


class TypeTable:
    """All types of one set of headers; `scope`, which the builder sets, evaluates expressions."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.scope: Scope
        self.records: dict[str, Record] = {}
        self.tags: dict[str, Type] = {}
        self.typedefs: dict[str, Type] = {}
        self.enumerators: dict[str, Enumerator] = {}
        self.values: dict[str, CInteger] = {}
        self.opaque: dict[str, Opaque] = {}

    def declare(self, declaration: Declaration) -> None:
        """Take in one declaration."""
        name = declaration.name if declaration.kind == "typedef" else None
        type_ = self.resolve(declaration.type, None if name is None else Naming.of(name))
        if name is not None:
            self.typedefs[name] = type_
            if isinstance(type_, Unknown):
                origin = declaration.at.file.name
                self.opaque.setdefault(name, Opaque(name, "typedef", type_.reason, origin))

    def resolve(self, type_: syntax.TypeSyntax, naming: Naming | None = None) -> Type:
        """The type that syntax means; a record without a tag takes its name from `naming`."""
        match type_:
            case syntax.Basic(name=word):
                return basic.scalar(word, self.architecture) or Unknown(f"{word} is not known")
            case syntax.TypedefName(name=word):
                return self.typedefs.get(word) or Unknown(f"{word} is not defined")
            case syntax.PointerSyntax(target=target):
                if isinstance(target, syntax.RecordSyntax | syntax.EnumSyntax):
                    self.resolve(target, naming)
                return Pointer()
            case syntax.FunctionSyntax():
                return Unknown("a function has no layout")
            case syntax.ArraySyntax():
                return self._array(type_, naming)
            case syntax.AlignedSyntax(type=inner, attributes=attributes):
                return self._aligned(self.resolve(inner, naming), attributes)
            case syntax.RecordSyntax():
                return self._record(type_, naming)
            case syntax.EnumSyntax():
                return self._enum(type_)
            case syntax.UnknownType(reason=reason):
                return Unknown(reason)

    def _array(self, array: syntax.ArraySyntax, naming: Naming | None) -> Type:
        element = self.resolve(array.element, naming)
        if isinstance(element, Unknown):
            return element
        if array.size is None:
            return Array(element, None, element.alignment)
        try:
            count = evaluate(array.size, self.scope).value
        except NotConstant as problem:
            return Unknown(f"the length of an array: {problem}")
        if count < 0 or count * max(element.size, 1) > _MAX_ARRAY_BYTES:
            return Unknown(f"an array of {count} elements")
        return Array(element, count, element.alignment)

    def _aligned(self, type_: Type, attributes: Sequence[syntax.Attribute]) -> Type:
        try:
            aligned, packed = read_attributes(attributes, self.scope)
        except NotConstant as problem:
            return Unknown(str(problem))
        if packed:
            return Unknown("packed stands at a type that is no record")
        if not aligned or isinstance(type_, Unknown):
            return type_
        return dataclasses.replace(type_, alignment=aligned)

    # Records.

    def _record(self, record: syntax.RecordSyntax, naming: Naming | None) -> Type:
        if record.fields is None:
            missing = Unknown(f"{record.kind} {record.tag} is not defined")
            return self.tags.get(record.tag or "", missing)
        if record.tag is not None or naming is None:
            naming = Naming.of(record.tag or f"anonymous_{record.kind}")
        name = self._free_name(naming.own)
        try:
            result: Type = self._laid_out(record, dataclasses.replace(naming, own=name))
        except NotConstant as problem:
            result = Unknown(f"{record.kind} {record.tag or name}: {problem}")
            origin = record.at.file.name
            self.opaque[name] = Opaque(name, record.kind, str(problem), origin)
        if isinstance(result, Record):
            self.records[name] = result
        if record.tag is not None:
            self.tags[record.tag] = result
        return result

    def _free_name(self, name: str) -> str:
        if name not in self.records:
            return name
        number = 2
        while f"{name}_{number}" in self.records:
            number += 1
        return f"{name}_{number}"

    def _laid_out(self, record: syntax.RecordSyntax, naming: Naming) -> Record:
        aligned, packed = read_attributes(record.attributes, self.scope)
        anonymous = 0
        members: list[Member] = []
        for field in record.fields or ():
            if field.name is None and field.width is None:
                anonymous += 1
            member = self._member(field, naming.member(field, anonymous))
            if member is not None:
                members.append(member)
        layout = lay_out(
            record.kind,
            members,
            packed=packed,
            aligned=aligned,
            unnamed_bits_align=self.architecture.unnamed_bits_align,
        )
        return Record(
            name=naming.own,
            kind="union" if record.kind == "union" else "struct",
            tag=record.tag,
            size=layout.size,
            alignment=layout.alignment,
            fields=layout.fields,
            origin=record.at.file.name,
            line=record.at.place.line,
        )

    def _member(self, field: syntax.FieldSyntax, inner: Naming) -> Member | None:
        type_ = self.resolve(field.type, inner)
        if isinstance(type_, Unknown):
            raise NotConstant(f"field {field.name}: {type_.reason}")
        if field.name is None and field.width is None and not _without_tag(field.type):
            return None  # It declares a tag, and no member.
        aligned, packed = read_attributes(field.attributes, self.scope)
        width = None
        if field.width is not None:
            width = evaluate(field.width, self.scope).value
            if not isinstance(type_, Scalar | Enum) or not 0 <= width <= type_.size * 8:
                raise NotConstant(f"field {field.name}: a bit-field of {width} bits")
        return Member(field.name, type_, spell(field.type), width, aligned, packed)

    # Enums.

    def _enum(self, enum: syntax.EnumSyntax) -> Type:
        if enum.enumerators is None:
            # A name alone is as wide as int, as compilers take it where none is defined yet.
            return self.tags.get(enum.tag or "", Enum(enum.tag, 4, 4, False, ()))
        found: list[Enumerator] = []
        following: int | None = 0
        reason = ""
        for item in enum.enumerators:
            origin = item.at.file.name
            try:
                value = self._enumerator_value(item, following, reason)
            except NotConstant as problem:
                following, reason = None, str(problem)
                self.opaque[item.name] = Opaque(item.name, "enumerator", reason, origin)
                continue
            self.values[item.name] = _enumerator_integer(value)
            entry = Enumerator(item.name, value, enum.tag, origin)
            self.enumerators[item.name] = entry
            found.append(entry)
            following = value + 1
        result = _enum_type(enum.tag, tuple(found))
        if enum.tag is not None:
            self.tags[enum.tag] = result
        return result

    def _enumerator_value(
        self, item: syntax.EnumeratorSyntax, following: int | None, reason: str
    ) -> int:
        if item.value is not None:
            return evaluate(item.value, self.scope).value
        if following is None:
            raise NotConstant(f"it follows one that has no value: {reason}")
        return following


def _without_tag(type_: syntax.TypeSyntax) -> bool:
    if isinstance(type_, syntax.AlignedSyntax):
        return _without_tag(type_.type)
    return isinstance(type_, syntax.RecordSyntax) and type_.tag is None


def _enumerator_integer(value: int) -> CInteger:
    for kind in (INT, UINT, LONG, ULONG):
        if kind.wrap(value) == value:
            return CInteger(value, kind)
    raise NotConstant(f"{value} fits no type of an enumerator")


def _enum_type(tag: str | None, enumerators: tuple[Enumerator, ...]) -> Enum:
    values = [entry.value for entry in enumerators] or [0]
    signed = min(values) < 0
    small = INT if signed else UINT
    size = 4 if all(small.wrap(value) == value for value in values) else 8
    return Enum(tag, size, size, signed, enumerators)


def spell(type_: syntax.TypeSyntax) -> str:
    """A type as C spells it; a record or enum without a tag by its keyword alone."""
    match type_:
        case syntax.Basic(name=name) | syntax.TypedefName(name=name):
            return name
        case syntax.RecordSyntax(kind=kind, tag=tag):
            return f"{kind} {tag}" if tag else kind
        case syntax.EnumSyntax(tag=tag):
            return f"enum {tag}" if tag else "enum"
        case syntax.PointerSyntax(target=target):
            inner = spell(target)
            return f"{inner}*" if inner.endswith("*") else f"{inner} *"
        case syntax.ArraySyntax(element=element):
            return f"{spell(element)}[]"
        case syntax.AlignedSyntax(type=inner_type):
            return spell(inner_type)
        case syntax.FunctionSyntax(returns=returns):
            return f"{spell(returns)}()"
        case syntax.UnknownType(reason=reason):
            return reason
