"""Multiboot images: what is one, what is refused and how, and what the guest is told."""

from __future__ import annotations

import struct

import pytest

from kvmabi.errors import ImageError, UsageError
from kvmabi.vmm.pc import layout
from kvmabi.vmm.pc.multiboot import boot_information, load_multiboot, memory_map

AT = 0x40_0000
RAM_END = 0x80_0000
MAGIC = 0x1BADB002


def header(flags: int = 0, magic: int = MAGIC, off: int = 0) -> bytes:
    return struct.pack("<III", magic, flags, -(magic + flags) + off & 0xFFFF_FFFF)


def elf32(*segments: tuple[int, bytes, int], entry: int = AT, bits: int = 1) -> bytes:
    """An ELF32 executable of (gpa, data, bytes in memory)."""
    data_at = 52 + 32 * len(segments)
    head = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, entry, 52, 0, 0, 52, 32, len(segments), 0, 0, 0)
    table, body = b"", b""
    for gpa, data, in_memory in segments:
        at = data_at + len(body)
        table += struct.pack("<8I", 1, at, gpa, gpa, len(data), in_memory, 7, 4)
        body += data
    return b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + head + table + body


def load(data: bytes):
    return load_multiboot(data, ram_end=RAM_END, name="x.flat")


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 1 << 17])
def test_an_image_loads(flags: int) -> None:
    image = load(elf32((AT, header(flags), 64)))
    assert image.entry == AT
    assert image.segments[0].data == header(flags).ljust(64, b"\0")


def test_an_image_may_lie_in_conventional_memory() -> None:
    for at, end in ((0x1000, 0x2000), (0x8000, layout.INFO_GPA)):
        assert load(elf32((at, header(), end - at), entry=at)).segments[0].end == end


def test_a_header_with_a_wrong_checksum_is_passed_over() -> None:
    load(elf32((AT, header(off=4) + header(), 64)))


GOOD = elf32((AT, header() + bytes(100), 200))
BAD = {
    "empty": (b"", "no multiboot image"),
    "text": (b"hello world\n" * 40, "no multiboot image"),
    "no header": (elf32((AT, bytes(64), 64)), "no multiboot image"),
    "checksum": (elf32((AT, header(off=1), 64)), "no multiboot image"),
    "unaligned": (elf32((AT, b"\0" + header(), 64)), "no multiboot image"),
    "late": (elf32((AT, bytes(8192) + header(), 9000)), "no multiboot image"),
    "a.out": (elf32((AT, header(1 << 16), 64)), "a.out"),
    "video": (elf32((AT, header(1 << 2), 64)), "demands multiboot features 0x4"),
    "no elf": (header() + bytes(100), "no readable ELF"),
    "truncated": (GOOD[:-1], "truncated"),
    "64 bits": (elf32((AT, header(), 64), bits=2), "ELF"),
    "overlap": (elf32((AT, header(), 64), (AT + 60, b"xx", 4)), "overlap"),
    "too large": (elf32((AT, header(), RAM_END)), "does not fit"),
    "too low": (elf32((0xFF0, header(), 64), entry=0xFF0), "does not fit"),
    "on the information": (elf32((0x9_EFF0, header(), 64), entry=0x9_EFF0), "no free memory"),
    "in the hole": (elf32((0x9_FFF0, header(), 64), entry=0x9_FFF0), "no free memory"),
    "over the hole": (elf32((0x9_0000, header(), 0x8_0000), entry=0x9_0000), "no free memory"),
    "entry": (elf32((AT, header(), 64), entry=AT + 64), "entry point"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_refused_in_one_line(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(ImageError, match=message) as caught:
        load(data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("x.flat")


def test_the_guest_finds_its_command_line_and_its_memory() -> None:
    info = boot_information("x.flat one two", memory_map(RAM_END, 1 << 30))

    def bytes_at(gpa: int, size: int) -> bytes:
        return info.data[gpa - info.gpa : gpa - info.gpa + size]

    words = struct.unpack_from("<17I", info.data)
    assert words[0] == 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9
    assert words[1:3] == (636, 7 * 1024)
    assert bytes_at(words[4], 15) == b"x.flat one two\0"
    assert bytes_at(words[16], 7) == b"kvmabi\0"
    assert list(struct.iter_unpack("<IQQI", bytes_at(words[12], words[11]))) == [
        (20, 0, 0x9_F000, 1),
        (20, 0xE_0000, 0x2_0000, 2),
        (20, 0x10_0000, 0x70_0000, 1),
        (20, 1 << 32, 1 << 30, 1),
    ]
    assert info.end <= layout.INFO_GPA + layout.INFO_BYTES


def test_a_command_line_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="too long"):
        boot_information("x" * 4096, memory_map(RAM_END, 0))
