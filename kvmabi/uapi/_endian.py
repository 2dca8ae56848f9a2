"""The bases of generated classes: structs and unions of either byte order, on any host.

ctypes has them, but refuses a union of the other byte order as a field of a struct; here a class
says that it is of that order already.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or sys.byteorder == "little":
    from ctypes import LittleEndianStructure, LittleEndianUnion
else:
    LittleEndianStructure = ctypes.LittleEndianStructure

    class LittleEndianUnion(ctypes.LittleEndianUnion):
        """A union of little-endian numbers on a big-endian host."""

        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__(**options)
            cls.__ctype_le__ = cls


if TYPE_CHECKING or sys.byteorder == "big":
    from ctypes import BigEndianStructure, BigEndianUnion
else:
    BigEndianStructure = ctypes.BigEndianStructure

    class BigEndianUnion(ctypes.BigEndianUnion):
        """A union of big-endian numbers on a little-endian host."""

        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__(**options)
            cls.__ctype_be__ = cls


__all__ = ["BigEndianStructure", "BigEndianUnion", "LittleEndianStructure", "LittleEndianUnion"]
