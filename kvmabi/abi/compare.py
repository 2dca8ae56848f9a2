"""Two accounts of the same ABI, fact by fact: ours, and that of a compiler or a running kernel.

A `Comparison` counts what it compared, by kind, so that a proof can say that it was not empty.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from kvmabi.abi.model import Array, Enum, Field, Pointer, Record, Scalar, Type, Unknown


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact on which two accounts differ; `subject` is what it is about."""

    subject: str
    fact: str
    ours: object
    theirs: object

    def __str__(self) -> str:
        return f"{self.subject}: {self.fact} is {self.ours} here and {self.theirs} there"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Something that was not compared, and why."""

    subject: str
    reason: str


@dataclass(slots=True)
class Comparison:
    """What was compared: how much of each kind, what differed, and what was left out."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)

    def check(self, kind: str, subject: str, fact: str, ours: object, theirs: object) -> bool:
        """Compare one fact and count it under `kind`; whether both accounts agree."""
        self.counts[kind] += 1
        if ours == theirs:
            return True
        self.differences.append(Difference(subject, fact, ours, theirs))
        return False

    def exclude(self, subject: str, reason: str) -> None:
        """Note something that is not compared."""
        self.exclusions.append(Exclusion(subject, reason))

    def record(self, ours: Record, theirs: Record, subject: str = "") -> None:
        """Compare two records: kind, size and every member, into those that have no tag."""
        subject = subject or ours.name
        self.check("record sizes", subject, "kind", ours.kind, theirs.kind)
        self.check("record sizes", subject, "size", ours.size, theirs.size)
        named = [field for field in ours.fields if field.name or field.bit_width is None]
        if len(named) < len(ours.fields):
            self.exclude(f"unnamed bit-fields of {subject}", "debug information leaves them out")
        names = [item.name for item in named]
        if not self.check("field lists", subject, "fields", names, [f.name for f in theirs.fields]):
            return
        for index, (mine, other) in enumerate(zip(named, theirs.fields, strict=True)):
            self._field(mine, other, f"{subject}.{mine.name or f'<{index}>'}")

    def _field(self, ours: Field, theirs: Field, subject: str) -> None:
        self.check("field offsets", subject, "offset", ours.offset, theirs.offset)
        self.check("field sizes", subject, "size", ours.size, theirs.size)
        if ours.bit_width is not None or theirs.bit_width is not None:
            self.check("bit-fields", subject, "bit offset", ours.bit_offset, theirs.bit_offset)
            self.check("bit-fields", subject, "bit width", ours.bit_width, theirs.bit_width)
        self.check("field types", subject, "type", shape(ours.type), shape(theirs.type))
        mine, other = element_of(ours.type), element_of(theirs.type)
        if isinstance(mine, Record) and isinstance(other, Record) and mine.tag is None:
            self.record(mine, other, subject)


def element_of(type_: Type) -> Type:
    """The type itself, or what an array of any dimensions holds."""
    while isinstance(type_, Array):
        type_ = type_.element
    return type_


def shape(type_: Type) -> str:
    """What a type is to memory ("u32", "i8[16]", "struct kvm_regs"), whatever it is called."""
    match type_:
        case Scalar(kind="int" | "char", size=size, signed=signed):
            return f"{'i' if signed else 'u'}{size * 8}"
        case Scalar(kind=kind, size=size):
            return f"{kind}{size * 8}"
        case Enum(size=size, signed=signed):
            return f"{'i' if signed else 'u'}{size * 8}"
        case Pointer():
            return "pointer"
        case Array(element=element, count=count):
            dimensions = "[]" if count is None else f"[{count}]"
            inner = shape(element)
            # C writes the outer dimension first.
            base, bracket, rest = inner.partition("[")
            return f"{base}{dimensions}{bracket}{rest}"
        case Record(kind=kind, tag=tag):
            return f"{kind} {tag or '<no tag>'}"
        case Unknown(reason=reason):
            return f"unknown ({reason})"
