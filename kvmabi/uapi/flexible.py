"""Structures that end in a flexible array, with room for as many elements as are wanted.

::

    cpuid = allocate(kvm_cpuid2, 200)
    cpuid.nent = 200
    cpuid.entries[199].function  # IndexError from 200 on
    state = allocate(kvm_nested_state, 1, "data.vmx")  # the array may be inside the last member
    state.data.vmx[0].vmcs12

What comes back is an instance of the structure itself, zero all over, and as large as it would be
in C with an array of that length: here 8 + 200 * 40 bytes. (Elements that are smaller than the
structure's alignment, as in kvm_signal_mask, may have padding behind the last.)
"""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import Structure, Union, sizeof
from functools import lru_cache
from typing import Any, TypeVar, cast

S = TypeVar("S", bound=Structure)


def flexible_field(class_: type[Structure]) -> str:
    """The name of a structure's own flexible array; TypeError if it does not end in one."""
    name, kind = _fields(class_)[-1] if _fields(class_) else ("", None)
    if _is_flexible(kind):
        return name
    inside = " or ".join(flexible_paths(class_))
    more = f": it has {inside} inside its last member" if inside else ""
    raise TypeError(f"{class_.__name__} does not end in a flexible array{more}")


def flexible_paths(class_: type[Structure]) -> tuple[str, ...]:
    """The flexible arrays at a structure's end, inside its last member too ("data.vmx")."""
    return tuple(_paths(class_))


def _paths(class_: Any) -> Iterator[str]:
    """Where a flexible array may be: in a structure's last member, or in any of a union."""
    fields = _fields(class_)
    for name, kind in fields if issubclass(class_, Union) else fields[-1:]:
        if _is_flexible(kind):
            yield name
        elif isinstance(kind, type) and issubclass(kind, Structure | Union):
            yield from (f"{name}.{inner}" for inner in _paths(kind))


def _fields(class_: Any) -> list[tuple[str, Any]]:
    """Names and types of a class's own fields."""
    return [field[:2] for field in getattr(class_, "_fields_", ())]


def _is_flexible(kind: object) -> bool:
    return getattr(kind, "_length_", None) == 0


def with_length(class_: type[S], length: int, array: str = "") -> type[S]:
    """The class of `class_` with `length` elements in its flexible array; it is a subclass of it.

    `array` is the path of the array where it is inside the last member, and more than one is there.
    TypeError if `class_` has no such array, ValueError for a negative length.
    """
    if length < 0:
        raise ValueError(f"a flexible array of {length} elements")
    return cast("type[S]", _made(class_, length, array or _only(class_)))


def _only(class_: type[Structure]) -> str:
    paths = flexible_paths(class_)
    if len(paths) > 1:
        raise TypeError(f"{class_.__name__} may end in {' or '.join(paths)}: name the one")
    return paths[0] if paths else flexible_field(class_)


@lru_cache(maxsize=256)
def _made(class_: Any, length: int, path: str) -> Any:
    if path not in _paths(class_):
        known = ", ".join(_paths(class_)) or "none"
        raise TypeError(f"{class_.__name__} has no flexible array {path!r}; it has: {known}")
    name, _, rest = path.partition(".")
    offset, element = _place(class_, path)
    if issubclass(class_, Structure) and offset != sizeof(class_):
        raise TypeError(
            f"{class_.__name__}.{path} starts in the padding, which ctypes cannot lay out"
        )
    namespace: dict[str, Any] = {"__module__": class_.__module__}
    # Inside a member, the elements are memory behind the class, seen through a property.
    namespace["_fields_"] = (("_elements" if rest else name, element * length),)
    if rest:
        inner = _made(dict(_fields(class_))[name], length, rest)
        namespace[name] = _view(getattr(class_, name).offset, inner)
    return type(class_)(f"{class_.__name__}_{length}", (class_,), namespace)


def _place(class_: Any, path: str) -> tuple[int, Any]:
    """Offset in bytes and element's type of the flexible array at a path."""
    name, _, rest = path.partition(".")
    kind = dict(_fields(class_))[name]
    start: int = getattr(class_, name).offset
    if not rest:
        return start, kind._type_
    inner, element = _place(kind, rest)
    return start + inner, element


def _view(offset: int, inner: Any) -> property:
    """A member that is seen as `inner`, which reaches behind what the class itself says of it."""

    def read(self: Any) -> Any:
        return inner.from_buffer(self, offset)

    return property(read)


def allocate(class_: type[S], length: int, array: str = "") -> S:
    """A zeroed structure with `length` elements in its flexible array; errors as `with_length`."""
    made: S = with_length(class_, length, array)()
    return made
