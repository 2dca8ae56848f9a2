"""Ioctl numbers as mips and powerpc encode them; for all others it is the package ioctl-opt.

The names and arguments are those of that package. ValueError for a part that does not fit its bits.
"""

from __future__ import annotations

from ctypes import sizeof
from typing import Any

from kvmabi.arch import NARROW_IOCTL as ENCODING


def IO(type_: int, nr: int) -> int:  # noqa: N802 (the ABI's name)
    """_IO(type, nr): the number of an ioctl without an argument."""
    return ENCODING.number(ENCODING.none, type_, nr, 0)


def IOR(type_: int, nr: int, argument: Any) -> int:  # noqa: N802
    """_IOR(type, nr, argument): user space reads the argument, of this ctypes type."""
    return ENCODING.number(ENCODING.read, type_, nr, sizeof(argument))


def IOW(type_: int, nr: int, argument: Any) -> int:  # noqa: N802
    """_IOW(type, nr, argument): user space writes the argument."""
    return ENCODING.number(ENCODING.write, type_, nr, sizeof(argument))


def IOWR(type_: int, nr: int, argument: Any) -> int:  # noqa: N802
    """_IOWR(type, nr, argument): both."""
    return ENCODING.number(ENCODING.read | ENCODING.write, type_, nr, sizeof(argument))
