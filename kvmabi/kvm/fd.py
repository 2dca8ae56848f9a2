"""What every KVM file descriptor has in common: ownership and a checked ioctl."""

from __future__ import annotations

import errno
import os
from fcntl import ioctl
from typing import TYPE_CHECKING, Any, ClassVar, Self

from kvmabi import uapi
from kvmabi.errors import IoctlError

if TYPE_CHECKING:
    from types import TracebackType


class KvmFd:
    """An owned file descriptor of KVM; closing it twice is fine."""

    kind: ClassVar[str]
    """"system", "VM" or "vCPU", as it stands in messages."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def call(self, name: str, arg: Any = 0, *, advice: str = "") -> int:
        """What the ioctl of this ABI name returns.

        `arg` is an int of 32 signed bits, or a buffer: a ctypes structure or a bytearray is read
        and written in place. Calls again where a signal came between (EINTR). Raises IoctlError
        with `advice` in its message.
        """
        request: int = getattr(uapi, name)
        while True:
            try:
                return int(ioctl(self.fd, request, arg))
            except OSError as error:
                if error.errno != errno.EINTR:
                    raise IoctlError(error.errno or 0, name, self.kind, advice) from None

    def close(self) -> None:
        """Give the descriptor back to the kernel."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
