"""What a user names -> a source of headers."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from kvmabi.errors import ToolMissing, UsageError
from kvmabi.headersets.archives import read_deb, read_tarball
from kvmabi.headersets.files import Files, FolderFiles, GitFiles, MemoryFiles
from kvmabi.headersets.installed import (
    Installed,
    architecture_of,
    debian_folders,
    set_folders,
    zig_folders,
)
from kvmabi.headersets.kernel_tree import KernelTree, make_headers
from kvmabi.headersets.origin import Kind, Origin, Source
from kvmabi.headersets.store import RECORD, HeaderSet

Sanitiser = Literal["make", "kvmabi"]
ZIGLANG: Final = "ziglang >=0.17,<0.18"
FORMS: Final = (
    "a kernel source tree, TREE@REF of a git repository, a folder of installed headers, "
    'a .deb of headers or of kernel sources, a kernel tarball, "ziglang", or an imported set'
)


class NoSource(UsageError):
    """There is nothing of the name that a user gives."""


@contextmanager
def open_source(text: str, store: Path, *, sanitiser: Sanitiser = "kvmabi") -> Iterator[Source]:
    """The source that a user names; UsageError where it is none of those that there are.

    A folder with sources of a kernel is sanitised here, or by its own make, into a temporary
    folder that lasts as long as the context.
    """
    source = _find(text, store)
    if sanitiser == "make":
        if not isinstance(source, KernelTree) or not isinstance(source.files, FolderFiles):
            raise UsageError(f"{text}: make sanitises a kernel source tree, and nothing else")
        with TemporaryDirectory(prefix="kvmabi-headers-") as folder:
            yield make_headers(source.files.folder, source.origin, Path(folder))
        return
    yield source


def is_tree(text: str) -> bool:
    """Whether this names a folder with the sources of a kernel."""
    return _is_tree(Path(text))


def _find(text: str, store: Path) -> Source:
    if not text:
        raise UsageError(f"the name of headers must not be empty. It is: {FORMS}")
    path = Path(text)
    if text == "ziglang":
        return ziglang()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _file(path)
    repository, at, ref = text.rpartition("@")
    if at and Path(repository).is_dir():
        files = GitFiles.at(Path(repository), ref)
        given = f"{Path(repository).resolve()}@{ref}"
        return KernelTree(files, Origin("git commit", files.commit, given, "kvmabi"))
    if (store / text).is_symlink():
        return _set(store / text)
    raise NoSource(f"{text!r} is no source of headers. One is: {FORMS}")


def ziglang() -> Installed:
    """The headers of the installed ziglang package; ToolMissing if it is not installed."""
    folder = ziglang_folder()
    name = f"ziglang {importlib.metadata.version('ziglang')}"
    origin = Origin("package", name, "ziglang", "its maker")
    return Installed(FolderFiles(folder), origin, zig_folders())


def ziglang_folder() -> Path:
    """The include folder of the installed ziglang package; ToolMissing if it is not installed."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise ToolMissing(
            "this needs the ziglang package (a C compiler and the kernel's headers), which is not"
            f" installed; this gives it:  python -m pip install '{ZIGLANG}'"
        )
    return Path(spec.origin).parent / "lib" / "libc" / "include"


def _is_tree(path: Path) -> bool:
    return (path / "Makefile").is_file() and (path / "arch").is_dir()


def _folder(path: Path) -> Source:
    given = str(path.resolve())
    if (path / RECORD).is_file():
        return _set(path)
    if _is_tree(path):
        return KernelTree(FolderFiles(path), Origin("kernel tree", path.name, given, "kvmabi"))
    origin = Origin("include folder", path.resolve().name, given, "its maker")
    files = FolderFiles(path)
    if (path / "any-linux-any").is_dir():
        return Installed(files, origin, zig_folders())
    for top in ("", "include", "usr/include"):
        found = _installed(path, top, origin)
        if found is not None:
            return found
    raise UsageError(f"{path} has no linux/kvm.h, and is no kernel source tree")


def _installed(path: Path, top: str, origin: Origin) -> Installed | None:
    folder = path / top
    if not (folder / "linux" / "kvm.h").is_file():
        return None
    files = FolderFiles(folder)
    kvm_h = files.read("asm/kvm.h")
    if kvm_h is not None:
        return Installed(files, origin, {architecture_of(kvm_h, "asm/kvm.h"): ("",)})
    below = [f"usr/include/{p.relative_to(folder)}" for p in folder.glob("*/asm/kvm.h")]
    folders = {
        name: tuple(one.removeprefix("usr/include").lstrip("/") for one in searched)
        for name, searched in debian_folders(below).items()
    }
    return Installed(files, origin, folders)


def _set(path: Path) -> Installed:
    loaded = HeaderSet.load(path)
    return Installed(FolderFiles(loaded.folder), loaded.origin, set_folders())


def _file(path: Path) -> Source:
    sha256 = _digest(path)

    def origin(kind: Kind, *, ours: bool) -> Origin:
        given = str(path.resolve())
        return Origin(kind, path.name, given, "kvmabi" if ours else "its maker", sha256)

    files: Files
    if path.suffix == ".deb":
        found = read_deb(path)
        if "Makefile" in found:
            return KernelTree(MemoryFiles(found), origin("package", ours=True))
        folders = debian_folders(found)
        return Installed(MemoryFiles(found), origin("package", ours=False), folders)
    if ".tar" in path.suffixes or path.suffix in (".tgz", ".txz"):
        files = MemoryFiles(read_tarball(path))
        return KernelTree(files, origin("kernel archive", ours=True))
    raise UsageError(f"{path} is no folder, no .deb and no tarball. A source is: {FORMS}")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
