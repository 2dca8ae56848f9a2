"""Guest images: an ELF file's segments into guest memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from elftools.elf.elffile import ELFFile

from kvmabi.errors import ImageError

MAX_SEGMENTS = 64


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes of an image and the guest-physical address that they go to; zeroes are in `data`."""

    gpa: int
    data: bytes

    @property
    def end(self) -> int:
        """The first address behind the segment."""
        return self.gpa + len(self.data)


@dataclass(frozen=True, slots=True)
class Image:
    """A guest that fits: its entry point, and its segments by address, which do not overlap."""

    entry: int
    segments: tuple[Segment, ...]


KINDS = {
    64: (64, True, "EM_X86_64", "ET_EXEC"),
    32: (32, True, "EM_386", "ET_EXEC"),
}
"""What an ELF file for x86 must be, by bits: class, little endian, machine, type."""


def load_elf(
    data: bytes, *, low: int, high: int, name: str = "guest image", bits: int = 64
) -> Image:
    """The x86 ELF executable of so many bits in `data`, which must lie in `low` ≤ gpa < `high`.

    Raises ImageError, in one line, where the file is truncated or no such ELF, or its segments
    overlap, do not fit, or hold no entry point.
    """
    entry, headers = _read_headers(data, name, bits)
    headers = [header for header in headers if header.p_memsz]
    if len(headers) > MAX_SEGMENTS:
        raise ImageError(f"{name} has {len(headers)} segments, and a guest at most {MAX_SEGMENTS}")
    segments = [_segment(header, data, low, high, name) for header in headers]
    ordered = tuple(sorted(segments, key=lambda segment: segment.gpa))
    _check_segments(ordered, entry, name)
    return Image(entry, ordered)


def _read_headers(data: bytes, name: str, bits: int) -> tuple[int, list[Any]]:
    """The entry point and the headers of the segments to load."""
    try:
        elf = ELFFile(io.BytesIO(data))
        kind = (elf.elfclass, elf.little_endian, elf.header.e_machine, elf.header.e_type)
        headers = [segment.header for segment in elf.iter_segments("PT_LOAD")]
        entry = int(elf.header.e_entry)
    except Exception as error:  # noqa: BLE001 - on odd files pyelftools raises what its parts do
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} is no readable ELF file: {reason}") from None
    if kind != KINDS[bits]:
        found, _, machine, file_type = kind
        raise ImageError(
            f"{name} is no {bits}-bit x86 ELF executable: {found} bits, {machine}, {file_type}"
        )
    return entry, headers


def _segment(header: Any, data: bytes, low: int, high: int, name: str) -> Segment:
    gpa, offset, file_bytes, memory_bytes = (
        int(getattr(header, field)) for field in ("p_paddr", "p_offset", "p_filesz", "p_memsz")
    )
    if file_bytes > memory_bytes:
        raise ImageError(
            f"{name}: the segment at {gpa:#x} has {file_bytes} bytes in the file "
            f"but {memory_bytes} in memory"
        )
    if offset + file_bytes > len(data):
        raise ImageError(
            f"{name} is truncated: the segment at {gpa:#x} ends at byte {offset + file_bytes}, "
            f"and the file at {len(data)}"
        )
    if gpa < low or gpa + memory_bytes > high:
        raise ImageError(
            f"{name} does not fit: a segment takes {gpa:#x} to {gpa + memory_bytes:#x}, "
            f"and there is {low:#x} to {high:#x}"
        )
    return Segment(gpa, data[offset : offset + file_bytes].ljust(memory_bytes, b"\0"))


def _check_segments(segments: tuple[Segment, ...], entry: int, name: str) -> None:
    if not segments:
        raise ImageError(f"{name} has nothing to load")
    for one, next_one in pairwise(segments):
        if one.end > next_one.gpa:
            raise ImageError(f"{name}: the segments at {one.gpa:#x} and {next_one.gpa:#x} overlap")
    if not any(segment.gpa <= entry < segment.end for segment in segments):
        raise ImageError(f"{name}: the entry point {entry:#x} lies in no segment")
