"""QEMU's own monitor: just enough of its protocol to keep a machine's state in a file.

Source: docs/interop/qmp-spec.rst of QEMU; the commands are of QEMU 6 and newer.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any, Final

from kvmabi.errors import KernelLost

DEADLINE_S: Final = 60.0
"""How long an answer may take."""
SAVE_DEADLINE_S: Final = 60.0
POLL_S: Final = 0.02
FILE_NAME: Final = "state"
UNLIMITED: Final = 1 << 40
SAVED: Final = "completed"
SETTLED: Final = (SAVED, "failed", "cancelled")


class Monitor:
    """Talks to one emulator over a connected socket."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._line.settimeout(DEADLINE_S)
        self._file = line.makefile("rb")
        self._answer("QMP")
        self.run("qmp_capabilities")

    def run(self, command: str, fd: int | None = None, **arguments: object) -> Any:
        """Return what the command returns; `fd` is handed over with it. KernelLost on an error."""
        message = json.dumps({"execute": command, "arguments": arguments}).encode()
        try:
            socket.send_fds(self._line, [message], [] if fd is None else [fd])
        except OSError as error:
            raise KernelLost(f"the emulator's monitor cannot be reached: {error}") from error
        return self._answer("return")

    def _answer(self, key: str) -> Any:
        """Return the next answer; what the emulator tells of its own accord is passed over."""
        try:
            while line := self._file.readline():
                message = json.loads(line)
                if "error" in message:
                    raise KernelLost(f"the emulator refuses: {message['error'].get('desc')}")
                if key in message:
                    return message[key]
        except (OSError, ValueError) as error:
            raise KernelLost(f"the emulator's monitor does not answer: {error}") from error
        raise KernelLost("the emulator went away while it was asked something")

    def close(self) -> None:
        """Stop talking; the socket itself stays the emulator's owner's."""
        self._file.close()

    def save_state(self, fd: int) -> None:
        """Write the state of the machine, which runs on afterwards, to an open file.

        It is not stopped first: the state would keep that, and stand still once it is loaded.
        KernelLost where it is not saved in SAVE_DEADLINE_S; the machine runs on then, too.
        """
        self.run("migrate-set-parameters", **{"max-bandwidth": UNLIMITED})
        self.run("getfd", fd, fdname=FILE_NAME)
        self.run("migrate", uri=f"fd:{FILE_NAME}")
        try:
            status = self._settled()
            if status not in SETTLED:
                self.run("migrate_cancel")
                self._settled()
        finally:
            self.run("cont")
        if status != SAVED:
            raise KernelLost(f"the state of the machine was not saved: {status}")

    def _settled(self) -> str:
        """Return the state of saving once it is over, or what it still is after SAVE_DEADLINE_S."""
        give_up = time.monotonic() + SAVE_DEADLINE_S
        while True:
            status = str(self.run("query-migrate").get("status"))
            if status in SETTLED or time.monotonic() > give_up:
                return status
            time.sleep(POLL_S)
