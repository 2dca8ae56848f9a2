"""The loader takes what is right, and says in one line what is wrong with the rest."""

from __future__ import annotations

import random
import struct

import pytest

from kvmabi.errors import ImageError
from kvmabi.guest import exerciser_image
from kvmabi.vmm.loader import Segment, load_elf

LOW, HIGH = 0x10_0000, 0x12_0000


def elf(
    *segments: tuple[int, bytes, int],
    entry: int = LOW,
    ident: bytes = b"\x7fELF\x02\x01\x01",
    machine: int = 62,
    kind: int = 2,
) -> bytes:
    """An ELF executable of (gpa, data, bytes in memory)."""
    data_at = 64 + 56 * len(segments)
    header = struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, entry, 64, 0, 0, 64, 56, len(segments), 0, 0, 0
    )
    table, body = b"", b""
    for gpa, data, in_memory in segments:
        table += struct.pack(
            "<IIQQQQQQ", 1, 7, data_at + len(body), gpa, gpa, len(data), in_memory, 1
        )
        body += data
    return ident.ljust(16, b"\0") + header + table + body


def load(data: bytes):
    return load_elf(data, low=LOW, high=HIGH, name="x.elf")


def test_segments_come_sorted_and_zero_filled() -> None:
    image = load(elf((LOW + 0x1000, b"bb", 4), (LOW, b"a", 1), (LOW + 0x3000, b"", 0)))
    assert image.entry == LOW
    assert image.segments == (Segment(LOW, b"a"), Segment(LOW + 0x1000, b"bb\0\0"))


def test_a_segment_may_fill_the_memory_and_touch_the_next() -> None:
    image = load(elf((LOW, b"a", 0x1_0000), (LOW + 0x1_0000, b"b", 0x1_0000)))
    assert image.segments[-1].end == HIGH


def test_the_exerciser_loads() -> None:
    assert load_elf(exerciser_image(), low=LOW, high=HIGH).segments


BAD = {
    "empty": (b"", "no readable ELF"),
    "garbage": (b"what is this?" * 20, "no readable ELF"),
    "header cut": (elf((LOW, b"a", 1))[:40], "no readable ELF"),
    "table cut": (elf((LOW, b"a", 1))[:80], "no readable ELF"),
    "data cut": (elf((LOW, b"abcd", 4))[:-1], "truncated"),
    "32 bits": (elf((LOW, b"a", 1), ident=b"\x7fELF\x01\x01\x01"), "ELF"),
    "big endian": (elf((LOW, b"a", 1), ident=b"\x7fELF\x02\x02\x01"), "ELF"),
    "arm64": (elf((LOW, b"a", 1), machine=183), "EM_AARCH64"),
    "shared object": (elf((LOW, b"a", 1), kind=3), "ET_DYN"),
    "nothing": (elf(), "nothing to load"),
    "too low": (elf((LOW - 1, b"ab", 2)), "does not fit"),
    "too high": (elf((HIGH - 1, b"ab", 2)), "does not fit"),
    "too large": (elf((LOW, b"a", 1 << 40)), "does not fit"),
    "wraps": (elf((LOW, b"a", (1 << 64) - 1)), "does not fit"),
    "less memory than file": (elf((LOW, b"abcd", 2)), "4 bytes in the file but 2"),
    "too many": (elf(*[(LOW + at, b"a", 1) for at in range(65)]), "65 segments"),
    "overlap": (elf((LOW, b"a", 16), (LOW + 15, b"b", 1)), "overlap"),
    "entry outside": (elf((LOW, b"a", 1), entry=LOW + 1), "entry point"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_refused_in_one_line(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(ImageError, match=message) as caught:
        load(data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("x.elf")


@pytest.mark.parametrize("seed", range(8))
def test_damaged_images_load_or_are_refused(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - damage that can be repeated, no secret
    good = exerciser_image()
    refused: list[str] = []
    for _ in range(60):
        data = bytearray(good[: dice.choice([len(good), dice.randrange(len(good))])])
        for _ in range(dice.randrange(1, 9)):
            if data:
                data[dice.randrange(min(len(data), 120))] = dice.randrange(256)
        try:
            load_elf(bytes(data), low=LOW, high=HIGH)
        except ImageError as error:
            refused.append(str(error))
    assert refused
    assert not any("\n" in message for message in refused)
