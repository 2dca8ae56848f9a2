from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("KVMABI_CACHE", str(folder))
    return folder


def ar_member(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)


def tar_xz(files: Mapping[str, bytes | str], mode: str = "w:xz") -> bytes:
    """A tar archive; text is the target of a symbolic link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size, info.mode = len(data), 0o755
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def make_deb(tmp_path: Path) -> Callable[..., Path]:
    def make(files: Mapping[str, bytes | str], name: str = "some.deb", suffix: str = "xz") -> Path:
        path = tmp_path / name
        data = tar_xz(files, {"xz": "w:xz", "gz": "w:gz", "bz2": "w:bz2"}.get(suffix, "w"))
        path.write_bytes(
            b"!<arch>\n"
            + ar_member("debian-binary", b"2.0\n")
            + ar_member("control.tar.xz", b"odd")
            + ar_member(f"data.tar.{suffix}", data)
        )
        return path

    return make


def module_image(*modinfo: str) -> bytes:
    """A 64-bit ELF file whose only sections are .modinfo and the names."""
    info = b"\0".join(line.encode() for line in modinfo) + b"\0"
    names = b"\0.modinfo\0.shstrtab\0"
    at_info, at_names = 64, 64 + len(info)
    at_headers = at_names + len(names)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, at_headers, 0, 64, 0, 0, 64, 3, 2
    )
    section = struct.Struct("<IIQQQQIIQQ")
    sections = (
        section.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        + section.pack(1, 1, 0, 0, at_info, len(info), 0, 0, 1, 0)
        + section.pack(10, 3, 0, 0, at_names, len(names), 0, 0, 1, 0)
    )
    return header + info + names + sections


@pytest.fixture
def make_module() -> Callable[..., bytes]:
    return module_image
