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

from ctypes import Array, Structure, sizeof
from functools import lru_cache
from typing import Any, TypeVar

S = TypeVar("S", bound=Structure)


def flexible_field(class_: type[Structure]) -> str:
    """The name of a structure's flexible array; TypeError if it does not end in one."""
    entries = getattr(class_, "_fields_", ())
    if entries:
        name, kind = entries[-1][:2]
        if isinstance(kind, type) and issubclass(kind, Array) and kind._length_ == 0:
            return str(name)
    raise TypeError(f"{class_.__name__} does not end in a flexible array")


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
        raise TypeError(f"{class_.__name__}.{name} starts in the padding, which ctypes cannot lay out")
    element: Any = dict((entry[0], entry[1]) for entry in class_._fields_)[name]._type_
    namespace = {"__module__": class_.__module__, "_fields_": ((name, element * length),)}
    return type(f"{class_.__name__}_{length}", (class_,), namespace)


def allocate(class_: type[S], length: int) -> S:
    """A zeroed structure with `length` elements in its flexible array; errors as `with_length`."""
    return with_length(class_, length)()
