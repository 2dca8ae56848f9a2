"""Every form that a source of headers can have, and what is no source."""

from __future__ import annotations

import io
import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from kvmabi.arch import S390, X86
from kvmabi.errors import KvmAbiError, UsageError
from kvmabi.headersets.collect import Collected, collect
from kvmabi.headersets.origin import version_of
from kvmabi.headersets.sources import open_source


def gathered(text: str | Path, store: Path) -> Collected:
    with open_source(str(text), store) as source:
        return collect(source)


def test_a_tree_is_sanitised_and_gives_what_kvm_h_includes(tree: Path, tmp_path: Path) -> None:
    found = gathered(tree, tmp_path)
    assert found.version == "6.9.3"
    assert found.architectures == ("x86", "s390")
    assert found.absent["riscv"] == "asm/kvm.h is not there"
    assert sorted(found.files) == [
        "common/asm-generic/types.h", "common/linux/kvm.h", "common/linux/version.h",
        "s390/asm/kvm.h", "s390/asm/types.h", "x86/asm/kvm.h", "x86/asm/types.h",
    ]  # fmt: skip
    kvm_h = found.files["common/linux/kvm.h"].decode()
    assert "__attribute__((packed))" in kvm_h
    assert "secret" not in kvm_h
    assert found.files["x86/asm/types.h"] == b"#include <asm-generic/types.h>\n"


def test_a_commit_is_read_and_not_what_was_changed_since(tree: Path, tmp_path: Path) -> None:
    git = ["git", "-C", str(tree), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    before = gathered(tree, tmp_path)
    (tree / "include/uapi/linux/kvm.h").write_text("#define OTHER 1\n")
    assert gathered(f"{tree}@HEAD", tmp_path).files == before.files
    assert gathered(tree, tmp_path).files != before.files
    with pytest.raises(UsageError, match="no git commit 'nowhere'"):
        gathered(f"{tree}@nowhere", tmp_path)


def tar_of(folder: Path, prefix: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(folder, prefix)
    return lzma.compress(stream.getvalue())


def deb_of(data: bytes, member: str = "data.tar.xz") -> bytes:
    parts = [b"!<arch>\n"]
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"x"), (member, data)):
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def test_a_tarball_gives_what_its_tree_gives(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "linux-6.9.3.tar.xz"
    path.write_bytes(tar_of(tree, "linux-6.9.3"))
    assert gathered(path, tmp_path).files == gathered(tree, tmp_path).files


def test_a_source_package_gives_what_its_tree_gives(tree: Path, tmp_path: Path) -> None:
    inside = tmp_path / "package/usr/src"
    inside.mkdir(parents=True)
    (inside / "linux-source-6.9.tar.xz").write_bytes(tar_of(tree, "linux-source-6.9"))
    path = tmp_path / "linux-source-6.9_6.9.3-1_all.deb"
    path.write_bytes(deb_of(tar_of(tmp_path / "package", ".")))
    assert gathered(path, tmp_path).files == gathered(tree, tmp_path).files


def installed(tree: Path, top: Path, store: Path) -> Path:
    """A folder as distributions have it, for x86 alone."""
    found = gathered(tree, store).files
    for name, data in found.items():
        first, _, rest = name.partition("/")
        if first == "s390":
            continue
        path = top / ("x86_64-linux-gnu" if first == "x86" else "") / rest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top


def test_a_headers_package_and_an_installed_folder_agree(tree: Path, tmp_path: Path) -> None:
    folder = installed(tree, tmp_path / "package/usr/include", tmp_path)
    path = tmp_path / "linux-libc-dev_6.9.3-1_amd64.deb"
    path.write_bytes(deb_of(tar_of(tmp_path / "package", ".")))
    from_deb, from_folder = gathered(path, tmp_path), gathered(folder, tmp_path)
    assert from_deb.architectures == from_folder.architectures == ("x86",)
    assert from_deb.files == from_folder.files


def test_a_folder_with_asm_beside_linux_is_of_the_guards_architecture(
    tree: Path, tmp_path: Path
) -> None:
    folder = installed(tree, tmp_path / "include", tmp_path)
    shutil.move(folder / "x86_64-linux-gnu/asm", folder / "asm")
    assert gathered(folder, tmp_path).architectures == ("x86",)
    (folder / "asm/kvm.h").write_text("#ifndef SOMETHING\n#endif\n")
    with pytest.raises(KvmAbiError, match="of which architecture"):
        gathered(folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.deb", b"no archive", "no Debian package"),
        ("a.deb", b"!<arch>\nshort", "broken archive member"),
        ("a.deb", deb_of(b"", "other.tar.xz"), "has no data.tar"),
        ("a.deb", deb_of(lzma.compress(b"x" * 9000)[:60]), "cannot be unpacked"),
        ("a.tar.xz", b"\xfd7zXZ\0 and no more", "cannot be unpacked"),
        ("a.txt", b"", "no folder, no .deb and no tarball"),
    ],
)
def test_what_is_no_archive_is_said(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=message):
        gathered(tmp_path / name, tmp_path)


def test_what_is_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no source of headers"):
        gathered("nothing-of-this-name", tmp_path)
    with pytest.raises(UsageError, match=r"has no linux/kvm\.h"):
        gathered(tmp_path, tmp_path)


def test_headers_that_are_not_there_are_none(tree: Path, tmp_path: Path) -> None:
    with open_source(str(tree), tmp_path) as source:
        assert source.read(X86, "linux/nothing.h") is None
        assert source.read(S390, "asm/ioctl.h") == b"#include <asm-generic/ioctl.h>\n"


PARTS = "".join(
    f"#define LINUX_VERSION_{name}\n"
    for name in ("MAJOR 6", "PATCHLEVEL 1", "SUBLEVEL 300", "CODE 393727")
)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("#define LINUX_VERSION_CODE 396288\n", "6.12"),
        ("#define LINUX_VERSION_CODE 132640\n", "2.6.32"),
        (PARTS, "6.1.300"),
    ],
)
def test_versions(text: str, version: str) -> None:
    assert version_of(text) == version
