"""Modules of the running kernel, exchanged for others: a changed KVM then needs no boot.

This runs in the kernel under test, before its first VM.
"""

from __future__ import annotations

import base64
import ctypes
import os
from collections.abc import Mapping, Sequence
from typing import Final

SYS_INIT_MODULE: Final = 175
SYS_DELETE_MODULE: Final = 176
"""Of x86-64. Source: arch/x86/entry/syscalls/syscall_64.tbl."""
O_NONBLOCK: Final = 0o4000

Order = Sequence[tuple[str, str]]
"""Modules with their parameters, in the order in which they were loaded."""

_libc = ctypes.CDLL(None, use_errno=True)


def swap(order: Order, packed: Mapping[str, str], originals: Mapping[str, bytes]) -> str:
    """Exchange modules for those that `files.pack` packed; return what went wrong, "" for nothing.

    Every module that was loaded after the first of them goes as well, and comes back: `originals`
    has their files, by name.
    """
    again = affected(order, packed)
    if lacking := sorted(packed.keys() - {name for name, _ in order}):
        return f"{', '.join(lacking)} was not loaded, so nothing can take its place"
    for name, _ in reversed(again):
        if _libc.syscall(SYS_DELETE_MODULE, name.encode(), O_NONBLOCK):
            return f"the module {name} does not go: {_reason()}"
    for name, parameters in again:
        image = base64.b64decode(packed[name]) if name in packed else originals[name]
        if _libc.syscall(SYS_INIT_MODULE, image, len(image), parameters.encode()):
            return f"the module {name} does not load: {_reason()}"
    return ""


def affected(order: Order, packed: Mapping[str, str]) -> Order:
    """Return the part of the order that begins with the first module to be exchanged."""
    first = next((at for at, (name, _) in enumerate(order) if name in packed), len(order))
    return order[first:]


def _reason() -> str:
    return os.strerror(ctypes.get_errno())
