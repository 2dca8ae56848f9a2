"""A cpio archive in the form that Linux takes as an initramfs ("newc").

The same entries give the same bytes, whoever makes them and when: no times, owners or inode numbers
of the machine get in. Source: Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from kvmabi.lab.archive import Entry

MAGIC: Final = "070701"
TRAILER: Final = "TRAILER!!!"
BLOCK_BYTES: Final = 512


def archive(entries: Iterable[Entry]) -> bytes:
    """Return an archive of the entries with the folders that they need; one per path, sorted.

    Archives may stand behind one another: the kernel unpacks each in turn.
    """
    files = {entry.path: entry for entry in entries}
    parts: list[bytes] = []
    for number, path in enumerate(sorted(files.keys() | _folders(files)), start=1):
        entry = files.get(path)
        if entry is None:
            parts.append(_record(number, path, stat.S_IFDIR | 0o755, b""))
        elif entry.target:
            parts.append(_record(number, path, stat.S_IFLNK | 0o777, entry.target.encode()))
        else:
            parts.append(_record(number, path, stat.S_IFREG | entry.mode, entry.data))
    parts.append(_record(0, TRAILER, 0, b""))
    whole = b"".join(parts)
    return whole + bytes(-len(whole) % BLOCK_BYTES)


def _folders(paths: Iterable[str]) -> set[str]:
    found = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return found - {"."}


def _record(inode: int, path: str, mode: int, data: bytes) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # inode, mode, uid, gid, nlink, mtime, filesize, device numbers (4), namesize, check
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name), 0)
    header = (MAGIC + "".join(f"{field:08x}" for field in fields)).encode() + name
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
