"""Guest RAM: anonymous memory of this process, put into a VM as one memslot."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress

from kvmabi.errors import GuestError

PAGE_BYTES = 4096
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Ram:
    """`size_bytes` of zeroed memory at guest-physical `gpa`, both page aligned.

    `view` is the memory as bytes; offsets in it count from `gpa`.
    """

    def __init__(self, gpa: int, size_bytes: int) -> None:
        if gpa % PAGE_BYTES or size_bytes % PAGE_BYTES or size_bytes <= 0:
            raise ValueError(f"RAM of {size_bytes:#x} bytes at {gpa:#x} is not whole pages")
        self.gpa = gpa
        self.size_bytes = size_bytes
        self._mapping = mmap.mmap(-1, size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.view = memoryview(self._mapping)
        self.hva = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))

    @property
    def end(self) -> int:
        """The first address behind this RAM."""
        return self.gpa + self.size_bytes

    def offset_of(self, gpa: int, size_bytes: int) -> int:
        """The offset in `view` of that many bytes at `gpa`; GuestError where not all are RAM."""
        if size_bytes < 0 or not self.gpa <= gpa <= self.end - size_bytes:
            raise GuestError(
                f"{size_bytes} bytes at gpa {gpa:#x} are not in RAM, "
                f"which is {self.gpa:#x} to {self.end:#x}"
            )
        return gpa - self.gpa

    def read(self, gpa: int, size_bytes: int) -> bytes:
        """A copy of guest memory; GuestError where it is no RAM."""
        start = self.offset_of(gpa, size_bytes)
        return bytes(self.view[start : start + size_bytes])

    def write(self, gpa: int, data: bytes) -> None:
        """Copy `data` into guest memory; GuestError where it is no RAM."""
        start = self.offset_of(gpa, len(data))
        self.view[start : start + len(data)] = data

    def part(self, gpa: int, size_bytes: int) -> memoryview:
        """Guest memory itself, writable; to be released before `close`."""
        start = self.offset_of(gpa, size_bytes)
        return self.view[start : start + size_bytes]

    def flush_page(self, gpa: int) -> None:
        """Have KVM forget how it maps this page, contents untouched; nothing where it is no RAM."""
        page = gpa & -PAGE_BYTES
        if self.gpa <= page < self.end:
            for rights in (0, mmap.PROT_READ | mmap.PROT_WRITE):
                if _libc.mprotect(self.hva + page - self.gpa, PAGE_BYTES, rights):
                    raise OSError(ctypes.get_errno(), "mprotect of a guest page")

    def close(self) -> None:
        """Give the memory back; no VM may use it any more."""
        self.view.release()
        with suppress(BufferError):  # a caller still holds a part; it goes with that
            self._mapping.close()
