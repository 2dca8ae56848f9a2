"""A kernel's source out of an archive, as a stream: nothing is held in memory, no tool but zstd.

A Debian source package holds one archive in another; the inner one is unpacked as it comes out.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import IO, Final, cast

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab.archive import AR_MAGIC, data_member

_READERS: Final = (
    (b"\xfd7zXZ\0", lzma.open),
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
)
"""How a compressed file starts, and what reads it."""
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_INNER: Final = "usr/src/linux-source-*.tar.*"
_DAMAGE: Final = (tarfile.TarError, lzma.LZMAError, EOFError, OSError)


def unpack(archive: Path, folder: Path) -> None:
    """Fill a folder with the files of a source archive, without the archive's outermost folder.

    The archive is a tar file, compressed by xz, gzip, bzip2, zstd or not at all, or a Debian
    package of kernel sources. Raises UsageError where it is none or damaged, or holds a name or a
    link that leads outside the folder, and LabUnavailable where zstd is needed and not installed.
    """
    try:
        with archive.open("rb") as file:
            is_package = file.read(len(AR_MAGIC)) == AR_MAGIC
            file.seek(0)
            if is_package:
                data_member(archive, file)
                with _tar(file) as outer:
                    _extract(_inner(outer, archive), folder)
            else:
                _extract(file, folder)
    except _DAMAGE as error:
        raise UsageError(f"{archive} cannot be unpacked: {error}") from error


def _inner(outer: tarfile.TarFile, archive: Path) -> IO[bytes]:
    for member in outer:
        if PurePosixPath(member.name).match(_INNER) and member.isfile():
            found = outer.extractfile(member)
            assert found is not None
            return found
    raise UsageError(f"{archive} is no package of kernel sources: it has no {_INNER}")


def _extract(stream: IO[bytes], folder: Path) -> None:
    with _tar(stream) as tar:
        for member in tar:
            parts = PurePosixPath(member.name.removeprefix("./")).parts[1:]
            if parts:
                _put(tar, member, PurePosixPath(*parts), folder)


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, name: PurePosixPath, top: Path) -> None:
    _stay_inside(name)
    path = top / name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif member.issym():
        _stay_inside(name.parent / member.linkname)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(member.linkname)
    elif member.isreg():
        path.parent.mkdir(parents=True, exist_ok=True)
        content = tar.extractfile(member)
        assert content is not None
        with path.open("xb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
        os.utime(path, (member.mtime, member.mtime))


def _stay_inside(name: PurePosixPath) -> None:
    depth = 0
    for part in name.parts:
        depth += -1 if part == ".." else 1
        if depth < 0 or part == "/":
            raise UsageError(f"the archive has a name that leads outside: {name}")


@contextmanager
def _tar(stream: IO[bytes]) -> Iterator[tarfile.TarFile]:
    with _plain(stream) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        yield tar


@contextmanager
def _plain(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield what a stream holds, decompressed; it cannot be wound back, so its head is kept."""
    whole = io.BufferedReader(cast("io.RawIOBase", stream), 1 << 20)
    head = whole.peek(8)
    try:
        if head.startswith(_ZSTD_MAGIC):
            with _zstd(whole) as plain:
                yield plain
            return
        for magic, reader in _READERS:
            if head.startswith(magic):
                with reader(whole) as plain:
                    yield cast("IO[bytes]", plain)
                return
        yield cast("IO[bytes]", whole)
    finally:
        whole.detach()


@contextmanager
def _zstd(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    if shutil.which("zstd") is None:
        raise LabUnavailable("this archive needs zstd to be unpacked: apt-get install -y zstd")
    with subprocess.Popen(["zstd", "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as zstd:
        assert zstd.stdin is not None
        assert zstd.stdout is not None
        feeder = Thread(target=_feed, args=(stream, zstd.stdin), daemon=True)
        feeder.start()
        try:
            yield zstd.stdout
        finally:
            zstd.kill()
            feeder.join()


def _feed(source: IO[bytes], sink: IO[bytes]) -> None:
    with suppress(OSError), sink:  # the reader may have had enough
        shutil.copyfileobj(source, sink, 1 << 20)
