"""What headers mean on one architecture: frozen facts, with nothing left to work out.

Sizes, alignments and offsets are in bytes, bit offsets and widths in bits. Every fact knows the
header that it comes from (`origin`, a name such as "linux/kvm.h").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kvmabi.arch import Architecture


@dataclass(frozen=True, slots=True)
class Scalar:
    """A type of the language; `name` is C's ("unsigned int")."""

    name: str
    kind: Literal["int", "char", "bool", "float", "void"]
    size: int
    alignment: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer; what it points to is in the field's spelling."""

    size: int = 8
    alignment: int = 8


@dataclass(frozen=True, slots=True)
class Array:
    """An array; `count` is None for `T x[]`, which has no size."""

    element: Type
    count: int | None
    alignment: int

    @property
    def size(self) -> int:
        """Size in bytes, 0 for a flexible array."""
        return self.element.size * (self.count or 0)

    @property
    def flexible(self) -> bool:
        """Whether its length is not in its type: `T x[]` or the older `T x[0]`."""
        return not self.count


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a record; `name` is None for an anonymous record and an unnamed bit-field.

    `offset` is that of the first byte with a bit of it. `bit_offset` counts from the record's
    start, in the order in which the architecture fills bit-fields (from the top bit of a byte on
    big-endian ones), and is None unless it is a bit-field. `spelling` is the type as declared
    ("__u32").
    """

    name: str | None
    type: Type
    spelling: str
    offset: int
    size: int
    bit_offset: int | None = None
    bit_width: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A struct or union. `name` is its tag or typedef's name; one without is named after its place.

    `tag` is None where C has none: `kvm_run__io` for the struct of kvm_run's field io,
    `kvm_run__anon1` for its first anonymous member.
    """

    name: str
    kind: Literal["struct", "union"]
    tag: str | None
    size: int
    alignment: int
    fields: tuple[Field, ...]
    origin: str
    line: int


@dataclass(frozen=True, slots=True)
class Enumerator:
    """A name of an enum and its value; `enum` is the enum's tag, None for an anonymous one."""

    name: str
    value: int
    enum: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum as a type: as wide as its enumerators need."""

    tag: str | None
    size: int
    alignment: int
    signed: bool
    enumerators: tuple[Enumerator, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A type whose layout cannot be known; sizes of what holds it cannot either."""

    reason: str
    size: int = 0
    alignment: int = 1


Type: TypeAlias = Scalar | Pointer | Array | Record | Enum | Unknown


@dataclass(frozen=True, slots=True)
class Ioctl:
    """An ioctl. `direction` has C's letters: "", "R", "W" or "RW", as user space sees it.

    `argument` is the argument's type as written ("struct kvm_regs"), None without one.
    """

    name: str
    direction: Literal["", "R", "W", "RW"]
    type: int
    nr: int
    size: int
    argument: str | None
    argument_type: Type | None
    number: int
    origin: str


@dataclass(frozen=True, slots=True)
class Macro:
    """An object-like macro.

    `kind` is "int" (with `value` and its C type), "string" (with `value`), "empty", or "opaque"
    (with `reason`). `alias_of` is the name that the macro stands for where its body is one name.
    `hexadecimal` is whether the header writes it as bits.
    """

    name: str
    kind: Literal["int", "string", "empty", "opaque"]
    origin: str
    value: int | str | None = None
    c_type: str = ""
    alias_of: str | None = None
    reason: str = ""
    hexadecimal: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A macro as Python: its parameters with their types, and the expression of its value.

    `parameters` are (name, "int" or "str"). `expression` uses them, the helpers of
    `kvmabi.uapi._functions` (with a "_" before their names) and the classes named in `records`.
    `c_type` is the type of the value in C. `constant` is whether C takes it as a constant
    expression where its arguments are.
    """

    parameters: tuple[tuple[str, str], ...]
    expression: str
    c_type: str
    records: tuple[str, ...]
    constant: bool


@dataclass(frozen=True, slots=True)
class FunctionMacro:
    """A function-like macro: parameters, the text of its body, and the function that it is.

    `function` is None where it is none that Python could have; `reason` says why.
    """

    name: str
    parameters: tuple[str, ...]
    variadic: bool
    body: str
    origin: str
    function: Function | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Something that headers declare and that cannot be worked out; `reason` says why.

    `kind` is "struct", "union", "enumerator", "ioctl", "macro" or "typedef".
    """

    name: str
    kind: str
    reason: str
    origin: str


@dataclass(frozen=True, slots=True)
class Abi:
    """All that a set of headers means on one architecture, in the headers' order.

    `records` hold structs and unions by name, nested ones too. `typedefs` are type names that are
    no record of their own. `opaque` are the things that could not be worked out, by name.
    """

    architecture: Architecture
    records: Mapping[str, Record]
    enumerators: Mapping[str, Enumerator]
    macros: Mapping[str, Macro]
    functions: Mapping[str, FunctionMacro]
    ioctls: Mapping[str, Ioctl]
    typedefs: Mapping[str, Type]
    opaque: Mapping[str, Opaque]
    files: tuple[str, ...]
