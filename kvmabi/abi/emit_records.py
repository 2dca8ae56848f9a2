"""Record -> the text of a ctypes class with exactly that layout."""

from __future__ import annotations

import keyword
from typing import Final

from kvmabi.abi.layout import round_up
from kvmabi.abi.model import Array, Enum, Field, Pointer, Record, Scalar, Type, Unknown
from kvmabi.errors import AbiError

_INTEGERS: Final = {
    (1, False): "c_uint8",
    (1, True): "c_int8",
    (2, False): "c_uint16",
    (2, True): "c_int16",
    (4, False): "c_uint32",
    (4, True): "c_int32",
    (8, False): "c_uint64",
    (8, True): "c_int64",
}
_FLOATS: Final = {4: "c_float", 8: "c_double"}
_INDENT: Final = "    "


class RecordWriter:
    """Writes ctypes classes; `used` are the types of ctypes that they need, `bases` their bases."""

    def __init__(self, endianness: str) -> None:
        self._prefix = "BigEndian" if endianness == "big" else "LittleEndian"
        self.used: set[str] = set()
        self.bases: set[str] = set()

    def write(self, record: Record) -> str:
        """The class of a record, whose own records must stand before it."""
        base = f"{self._prefix}{'Union' if record.kind == 'union' else 'Structure'}"
        self.bases.add(base)
        lines = [f"class {record.name}({base}):"]
        lines += self._docstring(record)
        hints = list(self._hints(record))
        if hints:
            lines.append(f"{_INDENT}if TYPE_CHECKING:")
            lines += [f"{_INDENT * 2}{hint}" for hint in hints]
        lines += self._fields(record)
        shown = [flexible_member(field.type) or field for field in record.fields]
        spellings = "".join(f'"{field.spelling}", ' for field in shown)
        lines.append(f"{_INDENT}_c_types_ = ({spellings.strip()})")
        return "\n".join(lines) + "\n"

    @staticmethod
    def _docstring(record: Record) -> list[str]:
        tag = f"{record.kind} {record.tag}" if record.tag else record.kind
        size = f"{record.size} bytes, alignment {record.alignment}"
        return [f'{_INDENT}"""{tag}: {size}, {record.origin}."""', ""]

    def _hints(self, record: Record) -> list[str]:
        hints: list[str] = []
        for field in record.fields:
            if field.name is None:
                inner = flexible_member(field.type)
                if inner is not None:
                    hints.append(f"{inner.name}: {self._hint(inner)}")
                elif isinstance(field.type, Record):
                    hints += self._hints(field.type)
            elif not keyword.iskeyword(field.name) and not _mangled(field.name):
                hints.append(f"{field.name}: {self._hint(field)}")
        return hints

    def _hint(self, field: Field) -> str:
        if isinstance(field.type, Record):
            return field.type.name
        if isinstance(field.type, Array):
            return self._array_hint(field.type)
        if isinstance(field.type, Scalar) and field.type.size == 16:
            return "Array[c_uint8]"
        if isinstance(field.type, Scalar) and field.type.kind == "float":
            return "float"
        return "int"

    def _array_hint(self, array: Array) -> str:
        inner = array.element
        name = self._array_hint(inner) if isinstance(inner, Array) else self.type_name(inner)
        if isinstance(inner, Scalar) and inner.size == 16:
            name = "Array[c_uint8]"
        return f"Array[{name}]"

    def _fields(self, record: Record) -> list[str]:
        entries, anonymous, padded = self._entries(record)
        lines: list[str] = []
        if anonymous:
            listed = ", ".join(f'"{name}"' for name in anonymous)
            lines.append(f"{_INDENT}_anonymous_ = ({listed},)")
        if padded:
            lines += [f'{_INDENT}_layout_ = "ms"', f"{_INDENT}_pack_ = 1"]
        if not entries:
            return [*lines, f"{_INDENT}_fields_ = ()"]
        lines.append(f"{_INDENT}_fields_ = (")
        lines += [f"{_INDENT * 2}{entry}," for entry in entries]
        return [*lines, f"{_INDENT})"]

    def _entries(self, record: Record) -> tuple[list[str], list[str], bool]:
        """(entries of _fields_, anonymous fields' names, whether padding was written out)."""
        padded = not natural(record)
        if padded and any(field.bit_width is not None for field in record.fields):
            raise AbiError(f"{record.name}: ctypes cannot lay out its bit-fields")
        entries: list[str] = []
        anonymous: list[str] = []
        end = 0
        for index, field in enumerate(record.fields):
            if padded and record.kind == "struct" and field.offset > end:
                entries.append(self._padding(index, field.offset - end))
            shown = field
            if field.name is None and field.bit_width is None:
                inner = flexible_member(field.type)
                if inner is None:
                    anonymous.append(f"_anon{len(anonymous) + 1}")
                shown = inner or field
            name = shown.name or (anonymous[-1] if field.bit_width is None else f"_bits{index}")
            width = f", {field.bit_width}" if field.bit_width is not None else ""
            entries.append(f'("{name}", {self.type_name(shown.type)}{width})')
            end = field.offset + field.size
        if padded:
            entries += self._tail(record, end)
        return entries, anonymous, padded

    def _tail(self, record: Record, end: int) -> list[str]:
        if record.kind == "union":
            return [self._padding(len(record.fields), record.size)]
        missing = record.size - end
        return [self._padding(len(record.fields), missing)] if missing else []

    def _padding(self, index: int, size_bytes: int) -> str:
        self.used.add("c_uint8")
        return f'("_pad{index}", c_uint8 * {size_bytes})'

    def type_name(self, type_: Type) -> str:
        """The expression of a ctypes type; AbiError for one that ctypes has no equal of."""
        match type_:
            case Record(name=name):
                return name
            case Array(element=element, count=count):
                inner = self.type_name(element)
                return (
                    f"{inner} * {count or 0}" if " " not in inner else f"({inner}) * {count or 0}"
                )
            case Pointer():
                return self._ctypes("c_uint64")
            case Enum(size=size, signed=signed):
                return self._ctypes(_INTEGERS[size, signed])
            case Scalar():
                return self._scalar(type_)
            case Unknown(reason=reason):
                raise AbiError(f"a type without a layout: {reason}")

    def _scalar(self, type_: Scalar) -> str:
        if type_.kind == "bool":
            return self._ctypes("c_uint8")  # c_bool has but the host's byte order
        if type_.kind == "float" and type_.size in _FLOATS:
            return self._ctypes(_FLOATS[type_.size])
        if type_.size == 16:
            return f"{self._ctypes('c_uint8')} * 16"
        if (type_.size, type_.signed) not in _INTEGERS:
            raise AbiError(f"ctypes has no {type_.name}")
        return self._ctypes(_INTEGERS[type_.size, type_.signed])

    def _ctypes(self, name: str) -> str:
        self.used.add(name)
        return name


def _mangled(name: str) -> bool:
    """Whether Python would take the name for another one inside of a class."""
    return name.startswith("__") and not name.endswith("__")


def flexible_member(type_: Type) -> Field | None:
    """The flexible array in the anonymous struct that headers wrap one in; None otherwise."""
    if not isinstance(type_, Record) or type_.size or len(type_.fields) != 2:
        return None
    empty, member = type_.fields
    flexible = isinstance(member.type, Array) and member.type.flexible
    return member if flexible and empty.size == 0 and isinstance(empty.type, Record) else None


def natural(record: Record) -> bool:
    """Whether ctypes lays the record out by itself as C does."""
    end = 0
    alignment = 1
    for field in record.fields:
        wanted = ctypes_alignment(field.type)
        alignment = max(alignment, wanted)
        if field.bit_width is None:
            start = 0 if record.kind == "union" else round_up(end, wanted)
            if start != field.offset:
                return False
        end = max(end, field.offset + field.size)
    return round_up(end, alignment) == record.size or any(
        field.bit_width is not None for field in record.fields
    )


def ctypes_alignment(type_: Type) -> int:
    """The alignment that ctypes gives the class of a type."""
    if isinstance(type_, Array):
        return ctypes_alignment(type_.element)
    if isinstance(type_, Record):
        if not natural(type_):
            return 1
        return max((ctypes_alignment(field.type) for field in type_.fields), default=1)
    if isinstance(type_, Scalar) and type_.size == 16:
        return 1
    return max(type_.size, 1)
