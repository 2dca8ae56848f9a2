"""Headers + Architecture -> Abi."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from kvmabi.abi import basic
from kvmabi.abi.constants import IOCTL_MACROS, ConstantTable, ioctl_of_call
from kvmabi.abi.functions import with_function
from kvmabi.abi.layout import round_up
from kvmabi.abi.model import Abi, Array, Enum, Record, Scalar, Type, Unknown
from kvmabi.abi.types import TypeTable, spell
from kvmabi.arch import Architecture
from kvmabi.errors import AbiError
from kvmabi.header import HeaderSyntax, HeaderTree, SourceFile, parse, syntax
from kvmabi.header.evaluate import evaluate
from kvmabi.header.integers import INT, UINT, CInteger, IntegerType, NotConstant

INCLUDES = ("linux/kvm.h",)


def read_abi(
    tree: HeaderTree,
    architecture: Architecture,
    *,
    overlays: Sequence[SourceFile] = (),
    includes: Sequence[str] = INCLUDES,
) -> Abi:
    """The ABI that a tree of headers gives an architecture, with overlays read behind them.

    HeaderError where the headers cannot be read.
    """
    header = parse(
        tree,
        includes,
        predefined=architecture.predefined,
        overlays=overlays,
        keep=frozenset(IOCTL_MACROS),
    )
    return build_abi(header, architecture)


def build_abi(header: HeaderSyntax, architecture: Architecture) -> Abi:
    """What parsed headers mean on an architecture."""
    types = TypeTable(architecture)
    scope = HeaderScope(types, _functions(header))
    types.scope = scope
    for declaration in header.declarations:
        types.declare(declaration)
    constants = ConstantTable(header, scope)
    constants.read_all()
    _check_encoding(constants, architecture)
    typedefs = set(header.typedefs)
    functions = {
        name: with_function(macro, header.macros[name], scope, typedefs)
        for name, macro in constants.functions.items()
    }
    return Abi(
        architecture=architecture,
        records=MappingProxyType(types.records),
        enumerators=MappingProxyType(types.enumerators),
        macros=MappingProxyType(constants.macros),
        functions=MappingProxyType(functions),
        ioctls=MappingProxyType(constants.ioctls),
        typedefs=MappingProxyType(types.typedefs),
        opaque=MappingProxyType({**types.opaque, **constants.opaque}),
        files=header.files,
    )


def _functions(header: HeaderSyntax) -> frozenset[str]:
    macros = header.macros.values()
    return frozenset(macro.name for macro in macros if macro.parameters is not None)


def _check_encoding(constants: ConstantTable, architecture: Architecture) -> None:
    """AbiError where the headers encode ioctl numbers otherwise than the architecture does."""
    encoding = architecture.ioctl
    expected = {
        "_IOC_SIZEBITS": encoding.size_bits,
        "_IOC_NONE": encoding.none,
        "_IOC_READ": encoding.read,
        "_IOC_WRITE": encoding.write,
    }
    for name, value in expected.items():
        macro = constants.macros.get(name)
        if macro is not None and macro.value != value:
            raise AbiError(
                f"{name} is {macro.value} in these headers and {value} on {architecture.name}:"
                " are they of another architecture?"
            )


class HeaderScope:
    """What expressions in headers can use: enumerators, types, and the macros that make ioctls."""

    def __init__(self, types: TypeTable, functions: frozenset[str]) -> None:
        self.types = types
        self.functions = functions
        self.char_signed = types.architecture.char_signed

    def name(self, name: syntax.Name) -> CInteger:
        """An enumerator's value."""
        value = self.types.values.get(name.name)
        if value is not None:
            return value
        opaque = self.types.opaque.get(name.name)
        if opaque is not None:
            raise NotConstant(f"{name.name}: {opaque.reason}")
        raise NotConstant(f"{name.name} is not defined by these headers")

    def complete(self, type_: syntax.TypeSyntax) -> Type:
        """The type, which must have a layout."""
        resolved = self.types.resolve(type_)
        if isinstance(resolved, Unknown):
            raise NotConstant(resolved.reason)
        return resolved

    def integer_type(self, type_: syntax.TypeSyntax) -> IntegerType:
        """The integer type that a cast goes to."""
        resolved = self.complete(type_)
        if isinstance(resolved, Enum):
            return INT if resolved.signed else UINT
        found = basic.integer_type(resolved) if isinstance(resolved, Scalar) else None
        if found is None:
            raise NotConstant(f"a cast to {spell(type_)} is no integer")
        return found

    def size_of(self, type_: syntax.TypeSyntax) -> int:
        """Size in bytes."""
        resolved = self.complete(type_)
        if isinstance(resolved, Array) and resolved.count is None:
            raise NotConstant("the size of a flexible array")
        return resolved.size

    def alignment_of(self, type_: syntax.TypeSyntax) -> int:
        """Alignment in bytes."""
        return self.complete(type_).alignment

    def offset_of(self, query: syntax.OffsetOf) -> int:
        """Offset in bytes of a field, through anonymous members too."""
        type_ = self.complete(query.type)
        offset = 0
        for part in query.path:
            if isinstance(part, str):
                step, type_ = field_offset(type_, part)
                offset += step
            elif isinstance(type_, Array):
                type_ = type_.element
                offset += evaluate(part, self).value * round_up(type_.size, type_.alignment)
            else:
                raise NotConstant("an index into something that is no array")
        return offset

    def call(self, call: syntax.Call) -> CInteger:
        """The number of an ioctl."""
        return CInteger(ioctl_of_call(call, self).number, UINT)


def field_offset(type_: Type, name: str) -> tuple[int, Type]:
    """(offset in bytes, type) of a field, anonymous members' too; NotConstant if there is none."""
    if isinstance(type_, Record):
        for field in type_.fields:
            if field.name == name:
                return field.offset, field.type
            if field.name is None and isinstance(field.type, Record):
                try:
                    step, found = field_offset(field.type, name)
                except NotConstant:
                    continue
                return field.offset + step, found
        raise NotConstant(f"{type_.kind} {type_.name} has no field {name}")
    raise NotConstant(f"field {name} of something that is no record")
