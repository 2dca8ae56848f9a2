"""BTF: objects made here byte by byte, so that every value has a known answer."""

from __future__ import annotations

import struct

import pytest

from kvmabi.abi import btf
from kvmabi.errors import AbiError


class Maker:
    """Writes BTF; `first` is the offset of its first string in a split object."""

    def __init__(self, order: str = "<", first: int = 0) -> None:
        self.order = order
        self.first = first
        self.strings = b"" if first else b"\0"
        self.types = b""

    def string(self, text: str) -> int:
        offset = len(self.strings) + self.first
        self.strings += text.encode() + b"\0"
        return offset

    def words(self, *values: int) -> None:
        self.types += b"".join(
            struct.pack(f"{self.order}I", value & 0xFFFFFFFF) for value in values
        )

    def type(self, name: int, kind: int, vlen: int, last: int, flag: bool = False) -> None:
        self.words(name, kind << 24 | vlen | flag << 31, last)

    def enum(self, entries: dict[str, int], *, wide: bool = False, signed: bool = False) -> None:
        kind = btf.ENUM64 if wide else btf.ENUM
        self.type(0, kind, len(entries), 8 if wide else 4, signed)
        for name, value in entries.items():
            offset = self.string(name)
            self.words(offset, value, value >> 32) if wide else self.words(offset, value)

    def data(self) -> bytes:
        header = struct.pack(
            f"{self.order}HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types),
            len(self.strings),
        )  # fmt: skip
        return header + self.types + self.strings


def sample(order: str = "<") -> Maker:
    maker = Maker(order)
    maker.type(maker.string("int"), btf.INT, 0, 4)
    maker.words(32)
    maker.type(maker.string("decoy"), btf.STRUCT, 1, 4)
    maker.words(maker.string("flag_decoy"), 1, 0)
    maker.type(0, btf.PTR, 0, 1)
    maker.type(0, btf.ARRAY, 0, 0)
    maker.words(1, 1, 3)
    maker.enum({"flag_zero": 0, "flag_one": 1, "flag_max": 5})
    maker.type(0, btf.FUNC_PROTO, 1, 0)
    maker.words(0, 1)
    maker.enum({"negative": -3}, signed=True)
    maker.enum({"unsigned": 0xFFFFFFFF})
    maker.enum({"wide": 1 << 40, "wide_top": (1 << 64) - 1}, wide=True)
    maker.enum({"wide_negative": -2}, wide=True, signed=True)
    maker.enum({"flag_max": 9})
    return maker


@pytest.mark.parametrize("order", ["<", ">"])
def test_enumerators_of_either_byte_order(order):
    found = btf.Btf.parse(sample(order).data(), "sample")
    assert found.enumerators("flag_") == {"flag_zero": 0, "flag_one": 1, "flag_max": 5}
    assert found.enumerators(["negative", "unsigned", "wide", "wide_top", "wide_negative"]) == {
        "negative": -3,
        "unsigned": 0xFFFFFFFF,
        "wide": 1 << 40,
        "wide_top": (1 << 64) - 1,
        "wide_negative": -2,
    }


def test_names_are_whole_and_absent_ones_are_left_out():
    found = btf.Btf.parse(sample().data(), "sample")
    assert found.enumerators(["flag", "lag_max", "flag_ma", "none", "int", "decoy"]) == {}
    assert found.enumerators(["flag_max", "none"]) == {"flag_max": 5}
    assert found.enumerators([]) == {}


def write_kernel(folder, kernel: Maker, module: Maker | None = None) -> None:
    (folder / "vmlinux").write_bytes(kernel.data())
    if module is not None:
        (folder / "kvm").write_bytes(module.data())


def test_the_kernel_itself(tmp_path):
    write_kernel(tmp_path, sample())
    assert btf.enumerators(["flag_max"], folder=tmp_path) == {"flag_max": 5}


def test_a_modules_own_types_count_first(tmp_path):
    kernel = sample()
    module = Maker(first=len(kernel.strings))
    module.enum({"flag_max": 6, "module_only": 7})
    # An enumerator that has a name from the kernel's own strings.
    module.type(0, btf.ENUM, 1, 4)
    module.words(kernel.strings.index(b"\0negative\0") + 1, 8)
    write_kernel(tmp_path, kernel, module)
    assert btf.enumerators(["flag_max"], folder=tmp_path) == {"flag_max": 6}
    assert btf.enumerators("flag_", folder=tmp_path) == {
        "flag_zero": 0,
        "flag_one": 1,
        "flag_max": 6,
    }
    assert btf.enumerators(["module_only", "wide", "negative"], folder=tmp_path) == {
        "module_only": 7, "wide": 1 << 40, "negative": 8,
    }  # fmt: skip


def test_without_btf_there_is_nothing_to_find(tmp_path):
    assert btf.enumerators(["flag_max"], folder=tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:10], "too few"),
        (lambda data: b"\0\0" + data[2:], "no BTF"),
        (lambda data: data[:2] + b"\2" + data[3:], "version 2"),
        (lambda data: data[:-1], "cut short"),
        (lambda data: data[:31] + b"\x1f" + data[32:], "unknown BTF kind 31"),
        (lambda data: data[:28] + b"\xff\xff\x00\x06" + data[32:], "cut short"),
    ],
)
def test_damaged_btf_is_an_error(tmp_path, damage, message):
    (tmp_path / "vmlinux").write_bytes(damage(sample().data()))
    with pytest.raises(AbiError, match=message):
        btf.enumerators(["wide_negative", "flag_max", "none"], folder=tmp_path)
