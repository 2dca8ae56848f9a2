from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab import apt, cache
from kvmabi.lab.build import sources
from kvmabi.lab.build.sources import find_source
from kvmabi.lab.build.unpack import unpack

MAKEFILE = b"VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 9\n"
FILES = {"linux-6.1/Makefile": MAKEFILE, "linux-6.1/a/b.c": b"int b;\n", "linux-6.1/l": "a/b.c"}


def tarball(files: dict[str, bytes | str], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("linux-6.1")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size, info.mode, info.mtime = len(data), 0o755, 1_000_000_000
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def unpacked(data: bytes, tmp_path: Path) -> Path:
    archive, folder = tmp_path / "linux.tar", tmp_path / "tree"
    archive.write_bytes(data)
    folder.mkdir()
    unpack(archive, folder)
    return folder


def quiet(_text: str) -> None:
    pass


@pytest.mark.parametrize("mode", ["w", "w:xz", "w:gz", "w:bz2"])
def test_an_archive_is_unpacked_without_its_outermost_folder(mode: str, tmp_path: Path) -> None:
    tree = unpacked(tarball(FILES, mode), tmp_path)
    assert (tree / "Makefile").read_bytes() == MAKEFILE
    assert (tree / "a/b.c").stat().st_mtime == 1_000_000_000
    assert (tree / "a/b.c").stat().st_mode & 0o777 == 0o755
    assert (tree / "l").readlink() == Path("a/b.c")


def test_an_archive_of_zstd_is_unpacked_by_zstd(tmp_path: Path) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    data = subprocess.run(
        ["zstd", "-cq"], input=tarball(FILES), capture_output=True, check=True
    ).stdout
    assert (unpacked(data, tmp_path) / "a/b.c").read_text() == "int b;\n"


def test_without_zstd_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(LabUnavailable, match="apt-get install -y zstd"):
        unpacked(b"\x28\xb5\x2f\xfd" + bytes(20), tmp_path)


def test_a_package_s_inner_archive_is_unpacked(
    tmp_path: Path, make_deb: Callable[..., Path]
) -> None:
    inner = tarball(FILES, "w:xz")
    package = make_deb({"usr/share/x": b"", "usr/src/linux-source-6.1.tar.xz": inner})
    folder = tmp_path / "tree"
    folder.mkdir()
    unpack(package, folder)
    assert (folder / "a/b.c").read_text() == "int b;\n"


def test_another_package_is_refused(tmp_path: Path, make_deb: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="no package of kernel sources"):
        unpack(make_deb({"usr/share/x": b""}), tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"linux/../../x": b""},
        {"linux/a": "../x"},
        {"linux/a/b": "../../x"},
        {"linux/a": "/etc/passwd"},
    ],
)
def test_a_name_that_leads_outside_is_refused(
    tmp_path: Path, files: dict[str, bytes | str]
) -> None:
    with pytest.raises(UsageError, match="leads outside"):
        unpacked(tarball(files), tmp_path)


def test_a_link_inside_may_go_up(tmp_path: Path) -> None:
    tree = unpacked(tarball({**FILES, "linux/a/up": "../Makefile"}), tmp_path)
    assert (tree / "a/up").read_bytes() == MAKEFILE


@pytest.mark.parametrize("data", [b"", b"text", b"\xfd7zXZ\0 and no more", b"\x1f\x8b and no more"])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UsageError, match=r"linux\.tar"):
        unpacked(data, tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    data = tarball({**FILES, "linux-6.1/big": bytes(range(256)) * 64}, "w:xz")
    with pytest.raises(UsageError, match="cannot be unpacked"):
        unpacked(data[: len(data) // 2], tmp_path)


def test_an_archive_is_unpacked_into_the_cache_once(tmp_path: Path) -> None:
    path = tmp_path / "linux.tar.xz"
    path.write_bytes(tarball(FILES, "w:xz"))
    heard: list[str] = []
    first = find_source(str(path), heard.append)
    assert (first.tree / "a/b.c").is_file()
    assert first.tree.is_relative_to(cache.folder("sources"))
    assert first.content == cache.file_sha256(path)
    assert find_source(str(path), heard.append) == first
    assert heard == ["unpacking linux.tar.xz"]


def test_an_archive_of_something_else_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "other.tar"
    path.write_bytes(tarball({"other/readme": b""}))
    with pytest.raises(UsageError, match="no kernel source tree"):
        find_source(str(path), quiet)
    assert list(cache.folder("sources").iterdir()) == []


def test_a_tree_is_taken_as_it_is(source: Path) -> None:
    found = find_source(str(source), quiet)
    assert found == sources.Source(source, f"the tree {source}", "")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "'nowhere' is no kernel source"),
        ("debian:6.1", "as in debian:linux-source-6.1"),
        ("debian:linux-source-6.1.0", "a package of sources is meant"),
    ],
)
def test_another_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        find_source(name, quiet)


def test_a_folder_that_is_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no kernel source tree"):
        find_source(str(tmp_path / "empty"), quiet)


def test_a_package_comes_by_apt(
    make_deb: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    deb = make_deb({"usr/src/linux-source-6.1.tar.xz": tarball(FILES, "w:xz")})
    package = apt.Package("linux-source-6.1", "6.1.9-1", "all", cache.file_sha256(deb))
    monkeypatch.setattr(apt, "candidates", lambda _names: {package.name: package})
    monkeypatch.setattr(apt, "fetch", lambda _package: deb)
    found = find_source("debian:linux-source-6.1", quiet)
    assert found.label == "Debian's linux-source-6.1 6.1.9-1"
    assert found.content == package.sha256
    assert (found.tree / "a/b.c").is_file()


def test_a_package_that_apt_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "candidates", lambda _names: {})
    with pytest.raises(LabUnavailable, match="apt-get update"):
        find_source("debian:linux-source-6.99", quiet)
