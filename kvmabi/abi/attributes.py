"""GCC attributes -> what they do to a layout; one that is not known makes the layout unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kvmabi.header.evaluate import Scope, evaluate
from kvmabi.header.integers import NotConstant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvmabi.header import syntax

_MAX_ALIGNMENT: Final = 1 << 28

_NO_LAYOUT: Final = frozenset(
    {
        "deprecated", "unused", "may_alias", "nonstring", "counted_by", "counted_by_le",
        "counted_by_be", "designated_init", "bitwise", "transparent_union", "noderef",
        "address_space",
        "warn_if_not_aligned", "warn_unused_result", "nonnull", "format", "noreturn", "const",
        "pure", "malloc", "always_inline", "noinline", "cold", "hot", "visibility", "weak",
        "section", "used", "unavailable", "enum_extensibility", "flag_enum", "btf_type_tag",
        "btf_decl_tag", "preserve_access_index",
    }
)  # fmt: skip


def read_attributes(attributes: Sequence[syntax.Attribute], scope: Scope) -> tuple[int, bool]:
    """(alignment or 0, packed) that attributes ask for; NotConstant for one that is not known."""
    aligned, packed = 0, False
    for attribute in attributes:
        if attribute.name == "packed":
            packed = True
        elif attribute.name == "aligned":
            aligned = max(aligned, _alignment(attribute, scope))
        elif attribute.name not in _NO_LAYOUT:
            raise NotConstant(f"the attribute {attribute.name} is not known")
    return aligned, packed


def _alignment(attribute: syntax.Attribute, scope: Scope) -> int:
    if not attribute.arguments:
        raise NotConstant("aligned without a number means the compiler's largest")
    value = evaluate(attribute.arguments[0], scope).value
    if value <= 0 or value & (value - 1) or value > _MAX_ALIGNMENT:
        raise NotConstant(f"an alignment of {value}")
    return value
