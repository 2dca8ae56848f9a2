"""Structures that end in a flexible array, with room for as many elements as are wanted.

::

    cpuid = allocate(kvm_cpuid2, 200)
    cpuid.nent = 200
    cpuid.entries[199].function  # IndexError from 200 on

What comes back is an instance of the structure itself, zero all over, and as large as it would be
in C with an array of that length: here 8 + 200 * 40 bytes. (Elements that are smaller than the
structure's alignment, as in kvm_signal_mask, may have padding behind the last.)
"""

from __future__ import annotations

from ctypes import Structure, sizeof
from functools import lru_cache
from typing import Any, TypeVar, cast

S = TypeVar("S", bound=Structure)


def flexible_field(class_: type[Structure]) -> str:
    """The name of a structure's flexible array; TypeError if it does not end in one."""
    name, kind = _last(class_)
    if getattr(kind, "_length_", None) == 0:
        return name
    raise TypeError(f"{class_.__name__} does not end in a flexible array")


def _last(class_: type[Structure]) -> tuple[str, Any]:
    """Name and type of a class's own last field."""
    entries: Any = getattr(class_, "_fields_", ())
    return entries[-1][:2] if entries else ("", None)


@lru_cache(maxsize=256)
def with_length(class_: type[S], length: int) -> type[S]:
    """The class of `class_` with `length` elements in its flexible array; it is a subclass of it.

    TypeError if `class_` has no such array, ValueError for a negative length.
    """
    name = flexible_field(class_)
    if length < 0:
        raise ValueError(f"a flexible array of {length} elements")
    place = getattr(class_, name)
    if place.offset != sizeof(class_):
        raise TypeError(
            f"{class_.__name__}.{name} starts in the padding, which ctypes cannot lay out"
        )
    element = _last(class_)[1]._type_
    namespace: dict[str, Any] = {
        "__module__": class_.__module__,
        "_fields_": ((name, element * length),),
    }
    metaclass: Any = type(class_)
    return cast("type[S]", metaclass(f"{class_.__name__}_{length}", (class_,), namespace))


def allocate(class_: type[S], length: int) -> S:
    """A zeroed structure with `length` elements in its flexible array; errors as `with_length`."""
    made: S = with_length(class_, length)()
    return made
