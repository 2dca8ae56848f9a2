"""The files inside a Debian package, read without dpkg.

A package is an `ar` archive of three members; the last, ``data.tar.*``, holds the files. Python's
own tarfile reads the compressions that Debian uses. Where another is met (zstd), dpkg-deb helps.
Source: deb(5), ar(5).
"""

from __future__ import annotations

import io
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from kvmabi.errors import LabUnavailable, UsageError

AR_MAGIC: Final = b"!<arch>\n"
AR_HEADER_BYTES: Final = 60
TAR_MODES: Final = {".tar": "r|", ".tar.gz": "r|gz", ".tar.xz": "r|xz", ".tar.bz2": "r|bz2"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a package. `path` has no leading slash; a link has `target` and no data."""

    path: str
    mode: int
    data: bytes = b""
    target: str = ""


def entries(package: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    """Yield the files and symbolic links whose path is `wanted`, in the package's order.

    Raises UsageError where the file is no Debian package or is damaged.
    """
    try:
        with package.open("rb") as file:
            name, size = data_member(package, file)
            data = file.read(size)
            if len(data) < size:
                raise UsageError(f"{package} is cut off: {name} has {len(data)} of {size} bytes")
            yield from _unpack(package, name, data, wanted)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise UsageError(f"{package} cannot be unpacked: {error}") from error


def data_member(package: Path, file: IO[bytes]) -> tuple[str, int]:
    """Return the name and size of the member with the files, whose data is what `file` gives next.

    Raises UsageError where the file, which is read from its start, is no Debian package.
    """
    if file.read(len(AR_MAGIC)) != AR_MAGIC:
        raise UsageError(f"{package} is no Debian package")
    while header := file.read(AR_HEADER_BYTES):
        name = header[:16].decode("ascii", "replace").rstrip(" /")
        if not (length := header[48:58].rstrip()).isdigit():
            break
        size = int(length)
        if name.startswith("data.tar"):
            return name, size
        file.seek(size + size % 2, io.SEEK_CUR)
    raise UsageError(f"{package} is a damaged Debian package: it has no data.tar")


def _unpack(
    package: Path, name: str, data: bytes, wanted: Callable[[str], bool]
) -> Iterator[Entry]:
    mode = TAR_MODES.get(name.removeprefix("data"))
    if mode is None:
        mode, data = "r|", _by_dpkg(package, name)
    # mode is one of the table's, which mypy cannot follow through tarfile's overloads
    with tarfile.open(fileobj=io.BytesIO(data), mode=mode) as tar:  # type: ignore[call-overload]
        for member in tar:
            path = str(PurePosixPath(member.name)).lstrip("/")
            if ".." in PurePosixPath(path).parts or not wanted(path):
                continue
            if member.issym():
                yield Entry(path, 0o777, target=member.linkname)
            elif member.isreg():
                content = tar.extractfile(member)
                yield Entry(path, member.mode & 0o7777, content.read() if content else b"")


def _by_dpkg(package: Path, name: str) -> bytes:
    if shutil.which("dpkg-deb") is None:
        raise LabUnavailable(
            f"{package} holds {name}, which Python cannot read: unpack it by hand, and name the "
            "vmlinuz with --kernel and the modules folder with --modules"
        )
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=False)
    if done.returncode:
        raise UsageError(f"dpkg-deb cannot unpack {package}: {done.stderr.decode().strip()}")
    return done.stdout
