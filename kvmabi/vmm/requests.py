"""The host's side of one mailbox: accesses into requests, responses into outcomes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from kvmabi.errors import GuestError, UsageError
from kvmabi.guest import encodings, mailbox
from kvmabi.guest.mailbox import Form
from kvmabi.vmm import layout
from kvmabi.vmm.access import MMIO, PIO, Access, Outcome

_PLAIN = {
    (MMIO, 1, True): Form.STORE_1,
    (MMIO, 2, True): Form.STORE_2,
    (MMIO, 4, True): Form.STORE_4,
    (MMIO, 8, True): Form.STORE_8,
    (MMIO, 1, False): Form.LOAD_1,
    (MMIO, 2, False): Form.LOAD_2,
    (MMIO, 4, False): Form.LOAD_4,
    (MMIO, 8, False): Form.LOAD_8,
    (PIO, 1, True): Form.OUT_1,
    (PIO, 2, True): Form.OUT_2,
    (PIO, 4, True): Form.OUT_4,
    (PIO, 1, False): Form.IN_1,
    (PIO, 2, False): Form.IN_2,
    (PIO, 4, False): Form.IN_4,
}
_STRING = {
    (MMIO, 1, True): Form.MOVS_TO_1,
    (MMIO, 2, True): Form.MOVS_TO_2,
    (MMIO, 4, True): Form.MOVS_TO_4,
    (MMIO, 8, True): Form.MOVS_TO_8,
    (MMIO, 1, False): Form.MOVS_FROM_1,
    (MMIO, 2, False): Form.MOVS_FROM_2,
    (MMIO, 4, False): Form.MOVS_FROM_4,
    (MMIO, 8, False): Form.MOVS_FROM_8,
    (PIO, 1, True): Form.OUTS_1,
    (PIO, 2, True): Form.OUTS_2,
    (PIO, 4, True): Form.OUTS_4,
    (PIO, 1, False): Form.INS_1,
    (PIO, 2, False): Form.INS_2,
    (PIO, 4, False): Form.INS_4,
}
_PLAIN_CODES = {key: int(form) for key, form in _PLAIN.items()}
_LIMIT = {MMIO: layout.MAPPED_BYTES, PIO: layout.PORTS}

_pack_plain = struct.Struct("<QQI").pack_into
"""A request of a plain access: what follows is not looked at by the guest."""
_pack_request = mailbox.REQUEST.pack_into
_NO_RESPONSES = memoryview(bytes(mailbox.BATCH * mailbox.RESPONSE.size))
_RESPONSE_BYTES = mailbox.RESPONSE.size


class _StringRead(NamedTuple):
    """A request whose result lies in the buffer."""

    index: int
    offset: int
    width: int
    count: int


class Requests:
    """One vCPU's mailbox; `view` is its memory, and lies at `gpa`.

    `hazardous` allows stores of 16 bytes.
    """

    def __init__(self, view: memoryview, gpa: int, *, hazardous: bool = False) -> None:
        self.view = view
        self.words = view[: mailbox.CODE].cast("I")
        self._buffer_gpa = gpa + mailbox.BUFFER
        self._hazardous = hazardous
        self._posted = 0
        self._buffer_used = 0
        self._string_reads: list[_StringRead] = []

    @property
    def posted(self) -> int:
        """How many requests the guest was asked to serve."""
        return self._posted

    def post(self, accesses: Sequence[Access], start: int, timed: bool = False) -> int:
        """Ask for the accesses from index `start` on; how many of them went into this batch.

        Raises UsageError for one that the guest cannot make, or must not.
        """
        view = self.view
        at = mailbox.REQUESTS
        self._buffer_used = 0
        self._string_reads = []
        index = 0
        for access in accesses[start : start + mailbox.BATCH]:
            bus, address, width, write, data, values, insn = access
            try:
                form = _PLAIN_CODES[bus, width, write]
                if values or insn:
                    raise KeyError
                if not 0 <= address < _LIMIT[bus]:
                    raise ValueError
                _pack_plain(view, at, address, data if write else 0, form)
            except (KeyError, ValueError, struct.error):
                if not self._post_special(access, index, at):
                    break
            if bus == MMIO and layout.RAM_GPA - width < address < layout.RAM_END:
                raise UsageError(f"{access} would hit the guest's own memory")
            index += 1
            at += mailbox.REQUEST.size
        size = index * _RESPONSE_BYTES
        view[mailbox.RESPONSES : mailbox.RESPONSES + size] = _NO_RESPONSES[:size]
        self.words[mailbox.COUNT >> 2] = self._posted = index
        self.words[mailbox.TIMED >> 2] = timed
        return index

    def collect(self) -> list[Outcome]:
        """The outcomes of the requests posted, in their order."""
        end = mailbox.RESPONSES + self._posted * _RESPONSE_BYTES
        outcomes = [
            Outcome(done == 1, landing, cycles, value)
            for value, cycles, landing, done in mailbox.RESPONSE.iter_unpack(
                self.view[mailbox.RESPONSES : end]
            )
        ]
        for index, offset, width, count in self._string_reads:
            data = self.view[mailbox.BUFFER + offset :]
            values = (
                int.from_bytes(data[at : at + width], "little")
                for at in range(0, width * count, width)
            )
            outcomes[index] = outcomes[index]._replace(values=tuple(values))
        return outcomes

    def current(self) -> int:
        """Index in the batch of the access that the guest is making; -1 for none."""
        index: int = self.words[mailbox.CURRENT >> 2]
        return index if index < self._posted else -1

    def check(self) -> None:
        """Raise GuestError unless the guest is at the end of its batch."""
        status = self.words[mailbox.STATUS >> 2]
        if status != mailbox.Status.READY:
            name = mailbox.Status(status).name if status in list(mailbox.Status) else status
            raise GuestError(f"the guest halted with status {name} at request {self.current()}")

    def close(self) -> None:
        """Let go of the memory."""
        self.words.release()
        self.view.release()

    def _post_special(self, access: Access, index: int, at: int) -> bool:
        """Post a string access, or one by an odd instruction; False where the buffer is full."""
        elements, form, code = self._decode(access)
        width, buffer = access.width, self._buffer_used
        if buffer + len(elements) > mailbox.BUFFER_BYTES:
            return False
        self.view[mailbox.BUFFER + buffer : mailbox.BUFFER + buffer + len(elements)] = elements
        # Whole multiples of 16 keep every element aligned.
        self._buffer_used = (buffer + len(elements) + 15) & ~15
        count = len(access.values)
        if count and not access.write:
            self._string_reads.append(_StringRead(index, buffer, width, count))
        data = access.data & 0xFFFF_FFFF_FFFF_FFFF if access.write else 0
        gpa = self._buffer_gpa + buffer
        insn = code.rjust(mailbox.INSN_BYTES, b"\0")
        _pack_request(self.view, at, access.address, data, form, count, gpa, len(code), insn)
        return True

    def _decode(self, access: Access) -> tuple[bytes, int, bytes]:
        """The buffer's bytes, the form, and the instruction bytes; UsageError."""
        bus, address, width, write, data, values, insn = access
        problem = self._problem(access)
        if problem:
            raise UsageError(f"the guest cannot make {access}: {problem}")
        if values:
            body = b"".join(value.to_bytes(width, "little") for value in values)
            return body if write else bytes(len(body)), _STRING[bus, width, write], b""
        if width == 16:
            return data.to_bytes(16, "little"), Form.STORE_16, b""
        code = encodings.store_of_length(bus, width, insn, data)
        if code is None:
            raise UsageError(f"the guest cannot make {access}: no store is {insn} bytes long")
        return b"", Form.CUSTOM, code

    def _problem(self, access: Access) -> str:
        bus, address, width, write, data, values, insn = access
        extent = len(values) * width if bus == MMIO and values else width
        if bus not in _LIMIT:
            return "there is no such bus"
        if not 0 <= address < _LIMIT[bus]:
            return f"its address is not below {_LIMIT[bus]:#x}"
        if (width, bus, write) == (16, MMIO, True):
            if not self._hazardous:
                return "16-byte stores crash some kernels, and this machine was not made for that"
        elif (bus, width, write) not in _PLAIN:
            return "there is no such width"
        if any(not 0 <= value < 1 << 8 * width for value in (data, *values)) and write:
            return "its data do not fit the width"
        if extent > mailbox.BUFFER_BYTES or len(values) * width > mailbox.BUFFER_BYTES:
            return f"its elements take more than {mailbox.BUFFER_BYTES} bytes"
        if bus == MMIO and address < layout.RAM_END and address + extent > layout.RAM_GPA:
            return "it would hit the guest's own memory"
        if insn and (values or not write or width == 16):
            return "only plain stores come in other lengths"
        return ""
