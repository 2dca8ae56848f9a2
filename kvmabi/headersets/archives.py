"""Headers out of archives: Debian packages, and tar files of kernel sources.

Nothing is unpacked to disk: the files that are wanted are read into memory, by name. zstd has no
reader in the standard library of every Python that we support, so it needs the `zstd` program.
"""

from __future__ import annotations

import importlib
import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from kvmabi.errors import UsageError
from kvmabi.header.source import MAX_FILE_BYTES

_AR_MAGIC: Final = b"!<arch>\n"
_WANTED: Final = re.compile(
    r"(?:.*/)?(?:include/(?:uapi/|linux/(?:kvm|types|ioctl|version)).*\.h|include/.*\.h"
    r"|usr/lib/linux/uapi/.*\.h|arch/[^/]+/include/(?:uapi/)?asm/.*|Kbuild|Makefile)"
)
_MAX_TOTAL_BYTES: Final = 512 << 20
_INNER: Final = re.compile(r"(?:\./)?usr/src/linux-source-[^/]*\.tar\.\w+")


def read_deb(path: Path) -> dict[str, bytes]:
    """The headers of a Debian package by path ("usr/include/linux/kvm.h").

    Of a linux-source package, those of the source archive in it ("include/uapi/linux/kvm.h").
    UsageError if the file is no such package or is cut short.
    """
    with path.open("rb") as stream:
        if stream.read(len(_AR_MAGIC)) != _AR_MAGIC:
            raise UsageError(f"{path.name} is no Debian package")
        for name, data in _ar_members(stream, path.name):
            if name.startswith("data.tar"):
                return _read_tar(data, path.name)
    raise UsageError(f"{path.name} has no data.tar: no Debian package, or it is cut short")


def read_tarball(path: Path) -> dict[str, bytes]:
    """The headers in a tar file of kernel sources, without its outermost folder."""
    with path.open("rb") as stream:
        return _strip_top(_read_tar(stream, path.name))


def _ar_members(stream: IO[bytes], name: str) -> Iterator[tuple[str, IO[bytes]]]:
    while header := stream.read(60):
        if len(header) < 60 or header[58:] != b"`\n":
            raise UsageError(f"{name}: a broken archive member at byte {stream.tell() - 60}")
        try:
            size = int(header[48:58])
        except ValueError:
            raise UsageError(f"{name}: an archive member without a size") from None
        start = stream.tell()
        yield header[:16].decode("latin-1").strip().rstrip("/"), stream
        stream.seek(start + size + size % 2)


def _read_tar(stream: IO[bytes], name: str) -> dict[str, bytes]:
    """The wanted files of a compressed tar at the stream's position."""
    found: dict[str, bytes] = {}
    total = 0
    try:
        with _decompressed(stream) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                if member.isfile() and _INNER.fullmatch(member.name):
                    inner = tar.extractfile(member)
                    assert inner is not None
                    return _strip_top(_read_tar(inner, member.name))
                if not member.isfile() or member.size > MAX_FILE_BYTES:
                    continue
                if not _WANTED.fullmatch(member.name):
                    continue
                total += member.size
                if total > _MAX_TOTAL_BYTES:
                    raise UsageError(f"{name}: more headers than a kernel has")
                content = tar.extractfile(member)
                assert content is not None
                found[member.name.removeprefix("./")] = content.read()
    except _damage() as problem:
        raise UsageError(f"{name} cannot be unpacked: {problem}") from None
    return found


def _strip_top(files: dict[str, bytes]) -> dict[str, bytes]:
    return {path.partition("/")[2]: data for path, data in files.items()}


def _damage() -> tuple[type[Exception], ...]:
    """What the readers raise for a damaged archive, or one that this Python has no reader for."""
    always = (tarfile.TarError, EOFError, OSError, ImportError)
    try:
        return (*always, importlib.import_module("lzma").LZMAError)
    except ImportError:
        return always


_READERS: Final = ((b"\xfd7zXZ\0", "lzma"), (b"\x1f\x8b", "gzip"), (b"BZh", "bz2"))
"""How a compressed file starts, and the module that reads it: a small Python may lack some."""
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


@contextmanager
def _decompressed(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    head = stream.read(6)
    rest = cast("IO[bytes]", io.BufferedReader(_Rejoined(head, stream)))
    if head.startswith(_ZSTD_MAGIC):
        yield _zstd(rest)
        return
    for magic, module in _READERS:
        if head.startswith(magic):
            with cast("IO[bytes]", importlib.import_module(module).open(rest)) as plain:
                yield plain
            return
    yield rest


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    """What zstd makes of it; the data of a package with headers is small enough for memory."""
    try:
        done = subprocess.run(
            ["zstd", "-dcq"], input=stream.read(), capture_output=True, check=False
        )
    except OSError:
        raise UsageError("this archive is compressed by zstd: install the zstd program") from None
    if not done.stdout:
        raise UsageError(f"zstd fails: {done.stderr.decode(errors='replace').strip()}")
    return io.BytesIO(done.stdout)


class _Rejoined(io.RawIOBase):
    """A stream with bytes put back in front of it."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        data = self._head[: len(view)] or self._stream.read(len(view))
        self._head = self._head[len(data) :] if self._head else b""
        view[: len(data)] = data
        return len(data)
