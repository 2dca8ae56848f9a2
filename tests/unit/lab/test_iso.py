from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from kvmabi.lab.machine import iso

LOADER = bytes(range(256)) * 10
FILES = {
    "ISOLINUX.BIN": LOADER,
    "VMLINUZ": b"k" * 5000,
    "EMPTY": b"",
    "ISOLINUX.CFG": b"DEFAULT x\n",
}
IMAGE = iso.image(FILES, "ISOLINUX.BIN")


def sector(number: int, count: int = 1) -> bytes:
    return IMAGE[number * 2048 : (number + count) * 2048]


def records(folder: bytes) -> dict[str, tuple[int, int]]:
    """The name, first sector and size in bytes of a folder's records. Source: ECMA-119, 9.1."""
    found = {}
    while folder[0]:
        record, folder = folder[: folder[0]], folder[folder[0] :]
        place, place_big = struct.unpack_from("<I", record, 2) + struct.unpack_from(">I", record, 6)
        size, size_big = struct.unpack_from("<I", record, 10) + struct.unpack_from(">I", record, 14)
        assert (place, size) == (place_big, size_big)
        found[record[33 : 33 + record[32]].decode()] = place, size
    return found


def test_every_file_is_where_the_folder_says() -> None:
    volume = sector(16)
    assert volume[:7] == b"\x01CD001\x01"
    assert struct.unpack_from("<I", volume, 80)[0] * 2048 == len(IMAGE)
    (at,) = struct.unpack_from("<I", volume, 156 + 2)
    found = records(sector(at))
    assert found.pop("\0") == found.pop("\1") == (at, 2048)
    assert {name: size for name, (_, size) in found.items()} == {
        f"{name};1": len(data) for name, data in FILES.items()
    }
    place, size = found["VMLINUZ;1"]
    assert sector(place, 3)[:size] == FILES["VMLINUZ"]


def test_the_loader_is_what_boots() -> None:
    boot = sector(17)
    assert boot[:39].rstrip(b"\0") == b"\0CD001\x01EL TORITO SPECIFICATION"
    catalog = sector(struct.unpack_from("<I", boot, 71)[0])
    assert sum(struct.unpack_from("<16H", catalog)) % 65536 == 0
    assert catalog[30:34] == b"\x55\xaa\x88\0"
    count, place = struct.unpack_from("<HI", catalog, 38)
    assert count == 4
    loader = sector(place, 2)[: len(LOADER)]
    volume, own, size, check = struct.unpack_from("<IIII", loader, 8)
    assert (volume, own, size) == (16, place, len(LOADER))
    assert check == sum(struct.unpack(f"<{(size - 64) // 4}I", LOADER[64:])) % 2**32
    assert (loader[:8], loader[64:]) == (LOADER[:8], LOADER[64:])


def test_another_program_reads_it_too(tmp_path: Path) -> None:
    if shutil.which("xorriso") is None:
        pytest.skip("xorriso is not installed")
    path = tmp_path / "cd"
    path.write_bytes(IMAGE)
    words = ["xorriso", "-indev", path, "-report_el_torito", "plain", "-ls"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "El Torito img path :   1  /ISOLINUX.BIN" in done.stdout
    assert "boot-info-table" in done.stdout
    assert {f"'{name}'" for name in FILES} <= set(done.stdout.split())


@pytest.mark.parametrize("name", ["lower", "TOOLONGNAME", "A.FOUR", ""])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name of eight and three"):
        iso.image({name: b"", "ISOLINUX.BIN": LOADER}, "ISOLINUX.BIN")


def test_a_folder_that_is_too_large_is_refused() -> None:
    files = {f"F{number}": b"" for number in range(100)}
    with pytest.raises(ValueError, match="more than one sector"):
        iso.image({**files, "ISOLINUX.BIN": LOADER}, "ISOLINUX.BIN")
