"""Multiboot 1: which files are such images, and what the loader tells the guest.

Source: Multiboot Specification 0.6.96, 3.1 (header) and 3.3 (boot information). The image is an
ELF32 executable; a.out images, which give their addresses in the header, are refused.
"""

from __future__ import annotations

from struct import pack, unpack_from
from typing import Final

from kvmabi.errors import ImageError, UsageError
from kvmabi.vmm.loader import Image, Segment, load_elf
from kvmabi.vmm.pc import layout

HEADER_MAGIC: Final = 0x1BADB002
BOOT_MAGIC: Final = 0x2BADB002
HEADER_WITHIN: Final = 8192
HEADER_BYTES: Final = 12
HAS_ADDRESSES: Final = 1 << 16
CAN_DO: Final = 0b11
"""Of the features that an image may demand: aligned modules (there are none), memory sizes."""
DEMANDS: Final = 0xFFFF

INFO_HEAD_BYTES: Final = 116
HAS_MEMORY, HAS_COMMAND_LINE, HAS_MEMORY_MAP, HAS_LOADER_NAME = 1 << 0, 1 << 2, 1 << 6, 1 << 9
LOADER_NAME: Final = b"kvmabi\0"
AVAILABLE, RESERVED = 1, 2


def load_multiboot(data: bytes, *, ram_end: int, name: str) -> Image:
    """The image in `data`; raises ImageError, in one line, where it is none or does not fit."""
    flags = _header_flags(data, name)
    if flags & HAS_ADDRESSES:
        raise ImageError(f"{name} is an a.out image (multiboot flag 16): only ELF is loaded")
    if flags & DEMANDS & ~CAN_DO:
        raise ImageError(
            f"{name} demands multiboot features {flags & DEMANDS & ~CAN_DO:#x}, which are not here"
        )
    image = load_elf(data, low=layout.FREE_GPA, high=ram_end, name=name, bits=32)
    for segment in image.segments:
        if segment.gpa < layout.HIGH_GPA and segment.end > layout.INFO_GPA:
            raise ImageError(
                f"{name} does not fit: the segment at {segment.gpa:#x} runs into "
                f"{layout.INFO_GPA:#x} to {layout.HIGH_GPA:#x}, where a PC has no free memory"
            )
    return image


def _header_flags(data: bytes, name: str) -> int:
    """The flags of the first header whose checksum is right."""
    for at in range(0, min(len(data), HEADER_WITHIN) - HEADER_BYTES + 1, 4):
        magic, flags, checksum = unpack_from("<III", data, at)
        if magic == HEADER_MAGIC and (magic + flags + checksum) & 0xFFFF_FFFF == 0:
            return int(flags)
    raise ImageError(
        f"{name} is no multiboot image: no header in the first {HEADER_WITHIN} of "
        f"its {len(data)} bytes"
    )


def memory_map(low_ram_end: int, high_ram_bytes: int) -> list[tuple[int, int, int]]:
    """Start, length and kind of each range, as firmware would tell."""
    ranges = [
        (0, layout.INFO_GPA, AVAILABLE),
        (layout.BIOS_GPA, layout.HIGH_GPA - layout.BIOS_GPA, RESERVED),
        (layout.HIGH_GPA, low_ram_end - layout.HIGH_GPA, AVAILABLE),
    ]
    if high_ram_bytes:
        ranges.append((layout.ABOVE_4_GIB, high_ram_bytes, AVAILABLE))
    return ranges


def boot_information(command_line: str, ranges: list[tuple[int, int, int]]) -> Segment:
    """The information structure, with all that it points to; for EBX."""
    text = command_line.encode() + b"\0"
    entries = b"".join(pack("<IQQI", 20, *one) for one in ranges)
    map_at = layout.INFO_GPA + INFO_HEAD_BYTES
    name_at = map_at + len(entries)
    text_at = name_at + len(LOADER_NAME)
    if text_at + len(text) > layout.INFO_GPA + layout.INFO_BYTES:
        raise UsageError(f"the guest's command line is too long: {len(text)} bytes")
    upper = next(length for start, length, _ in ranges if start == layout.HIGH_GPA)
    flags = HAS_MEMORY | HAS_COMMAND_LINE | HAS_MEMORY_MAP | HAS_LOADER_NAME
    head = bytearray(INFO_HEAD_BYTES)
    head[:12] = pack("<III", flags, layout.INFO_GPA // layout.KIB, upper // layout.KIB)
    head[16:20] = pack("<I", text_at)
    head[44:52] = pack("<II", len(entries), map_at)
    head[64:68] = pack("<I", name_at)
    return Segment(layout.INFO_GPA, bytes(head) + entries + LOADER_NAME + text)
