"""A generated module compared with the Abi that it should say: every class, field and number."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, Final

from kvmabi.abi.compare import Comparison
from kvmabi.abi.emit import in_abi, needed_records
from kvmabi.abi.emit_records import flexible_member
from kvmabi.abi.model import Abi, Field, Record

KIND: Final = "module"
FACTS: Final = frozenset(
    {
        "ABI_VERSION", "ARCHITECTURE", "DEFINED", "IOCTLS", "OPAQUE", "OVERLAY_ADDED",
        "OVERLAY_BASE",
    }
)  # fmt: skip
"""The names of a module that are about it, and not of the ABI."""


def compare_module(module: Mapping[str, Any], abi: Abi, comparison: Comparison) -> None:
    """Compare a module's names with an Abi's; overlays' names and values are taken off first."""
    added: frozenset[str] = module.get("OVERLAY_ADDED", frozenset())
    before: Mapping[str, int] = module.get("OVERLAY_BASE", {})
    expected = _values(abi)
    for name, value in expected.items():
        comparison.check(KIND, name, "value", before.get(name, module.get(name)), value)
    for record in needed_records(abi):
        _record(module.get(record.name), record, comparison)
    known = {*expected, *(record.name for record in needed_records(abi))}
    known |= {name for name, macro in abi.functions.items() if macro.function}
    for name in sorted(set(module["__all__"]) - FACTS - known - added):
        comparison.check(KIND, name, "in the headers", True, False)
    for name in sorted(added):
        if name not in expected:
            comparison.exclude(name, "only an overlay has it, which this tree lacks")


def _values(abi: Abi) -> dict[str, int | str]:
    values: dict[str, int | str] = {
        entry.name: entry.value for entry in abi.enumerators.values() if in_abi(entry.origin)
    }
    for macro in abi.macros.values():
        if macro.value is not None and in_abi(macro.origin):
            values[macro.name] = macro.value
    return values | {i.name: i.number for i in abi.ioctls.values() if in_abi(i.origin)}


def _record(class_: Any, record: Record, comparison: Comparison) -> None:
    if not comparison.check(KIND, record.name, "a class", class_ is not None, True):
        return
    comparison.check(KIND, record.name, "size", ctypes.sizeof(class_), record.size)
    for index, field in enumerate(record.fields):
        shown = field if field.name else flexible_member(field.type)
        subject = f"{record.name}.{field.name or index}"
        if field.bit_width is not None:
            _bits(class_, field, index, record, subject, comparison)
        elif shown is not None and shown.name is not None:
            place = getattr(class_, shown.name, None)
            found = None if place is None else (place.offset, place.size)
            comparison.check(KIND, subject, "place", found, (field.offset, shown.size))
        elif field.size:
            names = getattr(class_, "_anonymous_", ())
            places = [getattr(class_, name).offset for name in names]
            comparison.check(KIND, subject, "place", field.offset in places, True)


def _bits(
    class_: Any, field: Field, index: int, record: Record, subject: str, comparison: Comparison
) -> None:
    """Set this bit-field alone, and see which bits of memory that sets."""
    assert field.bit_offset is not None
    assert field.bit_width is not None
    value = class_()
    setattr(value, field.name or f"_bits{index}", (1 << field.bit_width) - 1)
    step = 1 if "BigEndian" in class_.__mro__[1].__name__ else -1
    bits = "".join(f"{byte:08b}"[::step] for byte in bytes(value))
    expected = ("0" * field.bit_offset + "1" * field.bit_width).ljust(record.size * 8, "0")
    comparison.check(KIND, subject, "bits", bits, expected)
