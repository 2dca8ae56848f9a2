"""Store instructions of every length: the bytes are those of the manual, and of an assembler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvmabi.guest.encodings import lengths, store_of_length

DATA = 0x1122334455667788

# Shortest and longest natural encodings, written out from the manual's tables.
KNOWN = [
    ("mmio", 1, 2, "8803"),
    ("mmio", 4, 2, "8903"),
    ("mmio", 2, 3, "668903"),
    ("mmio", 8, 3, "488903"),
    ("mmio", 4, 4, "89442300"),
    ("mmio", 1, 3, "884300"),
    ("mmio", 4, 6, "898300000000"),
    ("mmio", 4, 8, "c744230088776655"),
    ("mmio", 1, 8, "c684230000000088"),
    ("mmio", 4, 11, "c784230000000088776655"),
    ("mmio", 4, 13, "3e3ec784230000000088776655"),
    ("mmio", 2, 15, "3e3e3e3e3e66c78423000000008877"),
    ("mmio", 8, 8, "4889842300000000"),
    ("mmio", 8, 10, "3e3e4889842300000000"),
    ("pio", 1, 1, "ee"),
    ("pio", 4, 1, "ef"),
    ("pio", 2, 2, "66ef"),
    ("pio", 1, 4, "3e3e3eee"),
]


@pytest.mark.parametrize(("bus", "width", "length", "code"), KNOWN)
def test_known_encodings(bus: str, width: int, length: int, code: str) -> None:
    made = store_of_length(bus, width, length, DATA)
    assert made is not None
    assert made.hex() == code


@pytest.mark.parametrize(
    ("bus", "width", "shortest"),
    [
        ("mmio", 1, 2),
        ("mmio", 2, 3),
        ("mmio", 4, 2),
        ("mmio", 8, 3),
        ("pio", 1, 1),
        ("pio", 2, 2),
        ("pio", 4, 1),
    ],
)
def test_every_length_from_the_shortest_to_15(bus: str, width: int, shortest: int) -> None:
    assert lengths(bus, width) == list(range(shortest, 16))
    for length in lengths(bus, width):
        made = store_of_length(bus, width, length, DATA)
        assert made is not None
        assert len(made) == length


@pytest.mark.parametrize(
    ("bus", "width", "length"),
    [("mmio", 4, 1), ("mmio", 8, 2), ("pio", 8, 4), ("mmio", 16, 4), ("pio", 1, 0), ("pio", 1, 16)],
)
def test_what_x86_does_not_have(bus: str, width: int, length: int) -> None:
    assert store_of_length(bus, width, length, 0) is None


ASSEMBLY = {
    "mov [rbx], eax": ("mmio", 4, 2),
    "mov [rbx], al": ("mmio", 1, 2),
    "mov [rbx], ax": ("mmio", 2, 3),
    "mov [rbx], rax": ("mmio", 8, 3),
    "{disp8} mov [rbx], eax": ("mmio", 4, 3),
    "{disp32} mov [rbx], eax": ("mmio", 4, 6),
    "{disp32} mov [rbx], rax": ("mmio", 8, 7),
    "{disp32} mov dword ptr [rbx], 0x55667788": ("mmio", 4, 10),
    "{disp32} mov word ptr [rbx], 0x7788": ("mmio", 2, 9),
    "out dx, ax": ("pio", 2, 2),
    "ds; ds; out dx, eax": ("pio", 4, 3),
}


def test_an_assembler_makes_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    # Four data bytes between instructions tell them apart.
    lines = "".join(f'{text}\n.ascii "<||>"\n' for text in ASSEMBLY)
    source = tmp_path / "stores.S"
    source.write_text(f'.intel_syntax noprefix\n.text\n.ascii "<||>"\n{lines}')
    target = ["-target", "x86_64-freestanding-none", "-c"]
    command = [sys.executable, "-m", "ziglang", "cc", *target, str(source), "-o", "stores.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    made = (tmp_path / "stores.o").read_bytes().split(b"<||>")[1 : len(ASSEMBLY) + 1]
    ours = [store_of_length(*which, DATA) for which in ASSEMBLY.values()]
    assert made == ours
