"""The debug-exit port: the guest's way to end the machine with a status."""

from __future__ import annotations

from typing import Final

PORTS: Final = 4


class GuestExit(BaseException):
    """The guest ended the machine; no error, and nothing but the run loop is to catch it."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the guest exited with status {status}")


class DebugExit:
    """A write of `value` ends the machine with the status ``(value << 1) | 1``, as in QEMU."""

    def read(self, offset: int, size: int) -> bytes:
        """Zeroes."""
        return bytes(size)

    def write(self, offset: int, data: bytes) -> None:
        """End the machine."""
        raise GuestExit(int.from_bytes(data, "little") << 1 | 1)
