"""Frames: how text, records and the kernel's log share one line between the two kernels.

A frame is a mark, a kind, the payload's length in bytes and its CRC-32, then the payload. A reader
that meets a damaged frame looks for the next mark and tells how much it had to leave out.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MARK: Final = b"\xabKv"
HEADER: Final = struct.Struct("<3scII")
LONGEST_BYTES: Final = 1 << 20


class Kind(bytes, enum.Enum):
    """What a frame's payload is."""

    READY = b"R"
    """JSON: what came up; the job may be sent now."""
    RECORDS = b"J"
    """Bytes of a result: lines of JSON, cut anywhere."""
    OUT = b"O"
    """Bytes of the verb's standard output."""
    ERR = b"E"
    """Bytes of the verb's standard error."""
    LOG = b"K"
    """A message of the kernel's, as /dev/kmsg gives it."""
    EXIT = b"X"
    """JSON: how the verb ended; the last frame."""
    TROUBLE = b"T"
    """Text: why the verb could not even be started; the last frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: Kind
    payload: bytes


def encode(kind: Kind, payload: bytes) -> bytes:
    """Return the payload as one frame, or as several where it is long."""
    pieces = range(0, len(payload), LONGEST_BYTES) or (0,)
    return b"".join(_frame(kind, payload[at : at + LONGEST_BYTES]) for at in pieces)


def _frame(kind: Kind, payload: bytes) -> bytes:
    return HEADER.pack(MARK, kind.value, len(payload), zlib.crc32(payload)) + payload


class Decoder:
    """Takes bytes as they come and gives whole frames; `lost_bytes` counts what made none."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.lost_bytes = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are whole now."""
        self._data += data
        while self._find_mark() and len(self._data) >= HEADER.size:
            _, kind, size, check = HEADER.unpack_from(self._data)
            if size > LONGEST_BYTES:
                self._drop(1)
                continue
            end = HEADER.size + size
            if len(self._data) < end:
                return
            payload = bytes(self._data[HEADER.size : end])
            if zlib.crc32(payload) != check or kind not in _KINDS:
                self._drop(1)
                continue
            del self._data[:end]
            yield Frame(_KINDS[kind], payload)

    def _find_mark(self) -> bool:
        at = self._data.find(MARK)
        if at < 0:
            self._drop(max(0, len(self._data) - len(MARK) + 1))
            return False
        self._drop(at)
        return True

    def _drop(self, count: int) -> None:
        self.lost_bytes += count
        del self._data[:count]


_KINDS: Final = {kind.value: kind for kind in Kind}
