"""What an x86 kernel image says of itself, before it is booted.

Source: Documentation/arch/x86/boot.rst (the real-mode kernel header).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from kvmabi.errors import UsageError

MAGIC_AT: Final = 0x202
MAGIC: Final = b"HdrS"
VERSION_POINTER_AT: Final = 0x20E
XLOADFLAGS_AT: Final = 0x236
XLF_KERNEL_64: Final = 1
READ_BYTES: Final = 1 << 16


def release_of(path: Path) -> str:
    """Return the release of a bzImage ("6.1.0-9-amd64").

    Raises UsageError, with what it is instead, for any other file and for a 32-bit kernel.
    """
    try:
        with path.open("rb") as file:
            head = file.read(READ_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read the kernel {path}: {error.strerror}") from error
    if head.startswith(b"\x7fELF"):
        raise UsageError(f"{path} is an ELF file (a vmlinux?): name the bzImage that boots")
    if head[MAGIC_AT : MAGIC_AT + 4] != MAGIC or len(head) < READ_BYTES:
        raise UsageError(f"{path} is no bootable x86 kernel (bzImage)")
    if not head[XLOADFLAGS_AT] & XLF_KERNEL_64:
        raise UsageError(f"{path} is a 32-bit kernel, and kvmabi runs on x86-64 alone")
    (pointer,) = struct.unpack_from("<H", head, VERSION_POINTER_AT)
    text = head[pointer + 0x200 :].split(b"\0", 1)[0] if pointer else b""
    return text.decode("ascii", "replace").partition(" ")[0]
