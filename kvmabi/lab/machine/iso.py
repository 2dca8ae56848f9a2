"""A CD image that boots by isolinux, made in memory: one folder, and no tool to make it with.

Source: ECMA-119 (the file system), the El Torito specification 1.0 (how it boots), and isolinux's
table of where it lies itself, as mkisofs writes it for -boot-info-table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

SECTOR: Final = 2048
VOLUME, BOOT, END, CATALOG, PATHS_LITTLE, PATHS_BIG, FOLDER, FILES = range(16, 24)
"""What the sectors hold, up to the first file's."""
FOLDER_FLAG: Final = 2
NO_EMULATION: Final = 0x88, 0
LOADED_SECTORS: Final = 4
"""How much of the loader the firmware reads, in sectors of 512 bytes."""
TABLE_AT: Final = 8
SUMMED_FROM: Final = 64


@dataclass(frozen=True, slots=True)
class _Placed:
    name: str
    sector: int
    data: bytes


def image(files: Mapping[str, bytes], loader: str) -> bytes:
    """Return the image; `loader`, isolinux.bin, is one of the files. Names are in capitals, 8.3.

    A name that does not fit that, and a folder of more than one sector, are a ValueError.
    """
    placed = list(_place(files))
    boot = next(one for one in placed if one.name == loader)
    end = placed[-1].sector + _sectors(placed[-1].data)
    head = {
        VOLUME: _volume(end),
        BOOT: struct.pack("<B5sB32s32xI", 0, b"CD001", 1, b"EL TORITO SPECIFICATION", CATALOG),
        END: struct.pack("<B5sB", 255, b"CD001", 1),
        CATALOG: _catalog(boot.sector),
        PATHS_LITTLE: struct.pack("<BBIHBx", 1, 0, FOLDER, 1, 0),
        PATHS_BIG: struct.pack(">BBIHBx", 1, 0, FOLDER, 1, 0),
        FOLDER: _folder(placed),
    }
    body = (_with_table(one) if one is boot else one.data for one in placed)
    sectors = (head.get(number, b"") for number in range(FILES))
    return b"".join(_padded(data) for data in (*sectors, *body))


def _place(files: Mapping[str, bytes]) -> Iterator[_Placed]:
    sector = FILES
    for name in sorted(files):
        stem, _, suffix = name.partition(".")
        if name != name.upper() or not 1 <= len(stem) <= 8 or len(suffix) > 3:
            raise ValueError(f"{name!r} is no name of eight and three capitals")
        yield _Placed(name, sector, files[name])
        sector += _sectors(files[name])


def _sectors(data: bytes) -> int:
    return max(1, -(-len(data) // SECTOR))


def _padded(data: bytes) -> bytes:
    return data + bytes(_sectors(data) * SECTOR - len(data))


def _both(form: str, number: int) -> bytes:
    """Return a number twice: little endian, then big endian."""
    return struct.pack(f"<{form}", number) + struct.pack(f">{form}", number)


def _volume(sectors: int) -> bytes:
    """Return the descriptor of a volume of so many sectors; texts that nobody reads are blank."""
    return b"".join(
        (
            struct.pack("<B5sBx32s32s8x", 1, b"CD001", 1, b" " * 32, b"KVMABI".ljust(32)),
            _both("I", sectors) + bytes(32) + _both("H", 1) + _both("H", 1) + _both("H", SECTOR),
            _both("I", 10) + struct.pack("<II", PATHS_LITTLE, 0),
            struct.pack(">II", PATHS_BIG, 0) + _record(b"\0", FOLDER, SECTOR, FOLDER_FLAG),
            b" " * 623 + (b"0" * 16 + b"\0") * 4 + b"\1",
        )
    )


def _record(name: bytes, sector: int, size: int, flags: int = 0) -> bytes:
    fields = _both("I", sector) + _both("I", size) + bytes(7) + bytes([flags, 0, 0]) + _both("H", 1)
    record = bytes([0]) + fields + bytes([len(name)]) + name
    record += bytes((len(record) + 1) % 2)
    return bytes([len(record) + 1]) + record


def _folder(placed: list[_Placed]) -> bytes:
    own = [_record(name, FOLDER, SECTOR, FOLDER_FLAG) for name in (b"\0", b"\1")]
    files = [_record(f"{one.name};1".encode(), one.sector, len(one.data)) for one in placed]
    folder = b"".join([*own, *files])
    if len(folder) > SECTOR:
        raise ValueError(f"{len(placed)} files are more than one sector's folder holds")
    return folder


def _catalog(sector: int) -> bytes:
    """Return the boot catalog: this is for a PC's firmware, and what it loads lies at `sector`."""
    words = struct.pack("<BB2x24s", 1, 0, b""), b"\x55\xaa"
    check = -sum(struct.unpack("<15H", words[0] + words[1])) & 0xFFFF
    entry = struct.pack("<BBHBxHI20x", *NO_EMULATION, 0, 0, LOADED_SECTORS, sector)
    return words[0] + struct.pack("<H", check) + words[1] + entry


def _with_table(boot: _Placed) -> bytes:
    """Return isolinux with the table of where it and the volume are, and its own sum."""
    whole = boot.data + bytes(-len(boot.data) % 4)
    words = struct.unpack(f"<{(len(whole) - SUMMED_FROM) // 4}I", whole[SUMMED_FROM:])
    check = sum(words) & 0xFFFF_FFFF
    table = struct.pack("<IIII40x", VOLUME, boot.sector, len(boot.data), check)
    return boot.data[:TABLE_AT] + table + boot.data[TABLE_AT + len(table) :]
