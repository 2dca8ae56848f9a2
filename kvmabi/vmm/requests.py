"""The host's side of one mailbox: accesses into requests, responses into outcomes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from kvmabi.errors import GuestError, GuestMisled, UsageError
from kvmabi.guest import encodings, mailbox
from kvmabi.guest.mailbox import Form
from kvmabi.vmm import layout
from kvmabi.vmm.access import MMIO, PIO, Access, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

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
HAZARDOUS_WIDTH = 16
_LIMIT = {MMIO: layout.MAPPED_BYTES, PIO: layout.PORTS}

_pack_plain = mailbox.ASKED_PLAIN.pack_into
_pack_request = mailbox.ASKED.pack_into
_unpack_results = mailbox.RESULT.iter_unpack
_CURRENT_WORD = mailbox.CURRENT >> 2
_END_WORD = mailbox.END >> 2
_TIMED_WORD = mailbox.TIMED >> 2
_REQUEST_BYTES = mailbox.REQUEST.size


class _StringRead(NamedTuple):
    """A request whose result lies in the buffer."""

    request: int
    start: int
    width: int
    elements: int


class Requests:
    """One vCPU's mailbox; `view` is its memory, and lies at `gpa`.

    `hazardous` allows stores of 16 bytes.
    """

    def __init__(self, view: memoryview, gpa: int, *, hazardous: bool = False) -> None:
        self.view = view
        self.words = view[: mailbox.CODE].cast("I")
        self._requests_gpa = gpa + mailbox.REQUESTS
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
                _pack_plain(view, at, address, data, form)
            except (KeyError, ValueError, struct.error):  # not ordinary, or not possible
                if not self._post_special(access, index, at):
                    break
            if bus == MMIO and layout.RAM_GPA - width < address < layout.RAM_END:
                raise UsageError(f"{access} would hit the guest's own memory")
            index += 1
            at += _REQUEST_BYTES
        self._posted = index
        self.words[_END_WORD] = self._requests_gpa + index * _REQUEST_BYTES
        self.words[_TIMED_WORD] = timed
        return index

    def collect(self) -> list[Outcome]:
        """The outcomes of the requests posted, in their order."""
        end = mailbox.REQUESTS + self._posted * _REQUEST_BYTES
        outcomes = [
            Outcome(done == 1, landing, cycles, value)
            for value, cycles, landing, done in _unpack_results(self.view[mailbox.REQUESTS : end])
        ]
        for request, start, width, elements in self._string_reads:
            data = self.view[mailbox.BUFFER + start :]
            values = (
                int.from_bytes(data[at : at + width], "little")
                for at in range(0, width * elements, width)
            )
            outcomes[request] = outcomes[request]._replace(values=tuple(values))
        return outcomes

    def current(self) -> int:
        """Index in the batch of the access that the guest is making; -1 for none."""
        offset: int = self.words[_CURRENT_WORD] - self._requests_gpa
        index = offset // _REQUEST_BYTES
        return index if 0 <= index < self._posted else -1

    def check(self) -> None:
        """Raise GuestError unless the guest has started well, and halted at the end of a batch."""
        status = self.words[mailbox.STATUS >> 2]
        if status != mailbox.Status.READY:
            name = mailbox.Status(status).name if status in list(mailbox.Status) else status
            error = GuestMisled if status in mailbox.MISLED else GuestError
            raise error(f"the guest halted with status {name}")
        if self.words[_CURRENT_WORD]:
            raise GuestError(f"the guest halted at request {self.current()} of {self._posted}")

    def close(self) -> None:
        """Let go of the memory."""
        self.words.release()
        self.view.release()

    def _post_special(self, access: Access, index: int, at: int) -> bool:
        """Post what is no ordinary plain access; False where the buffer is full."""
        problem = self._wrong_kind(access) or _wrong_place(access)
        if problem:
            raise UsageError(f"the guest cannot make {access}: {problem}")
        elements, form, code = _decode(access)
        start, end = self._buffer_used, self._buffer_used + len(elements)
        if end > mailbox.BUFFER_BYTES:
            return False
        self.view[mailbox.BUFFER + start : mailbox.BUFFER + end] = elements
        self._buffer_used = (end + 15) & ~15  # so that every element is aligned
        count = len(access.values)
        if count and not access.write:
            self._string_reads.append(_StringRead(index, start, access.width, count))
        data = access.data & 0xFFFF_FFFF_FFFF_FFFF
        gpa = self._buffer_gpa + start
        insn = code.rjust(mailbox.INSN_BYTES, b"\0")
        _pack_request(self.view, at, access.address, data, form, count, gpa, len(code), insn)
        return True

    def _wrong_kind(self, access: Access) -> str:
        bus, _, width, write, _, values, insn = access
        wide = (bus, width, write) == (MMIO, HAZARDOUS_WIDTH, True)
        if wide and not self._hazardous:
            return "stores of 16 bytes crash some kernels; only a hazardous machine makes them"
        if not wide and (bus, width, write) not in _PLAIN:
            return "there is no access of this bus, width and direction"
        if ((insn or wide) and (values or not write)) or (insn and wide):
            return "only plain stores of up to 8 bytes have a choice of lengths or elements"
        if insn and insn not in encodings.lengths(bus, width):
            return f"no such store is {insn} bytes long"
        if write and any(not 0 <= value < 1 << 8 * width for value in values):
            return "its values do not fit the width"
        return ""


def _decode(access: Access) -> tuple[bytes, int, bytes]:
    """The buffer's bytes, the form, and the instruction bytes of an access that can be made."""
    bus, _, width, write, data, values, insn = access
    if values:
        body = b"".join(value.to_bytes(width, "little") for value in values if write)
        return body or bytes(width * len(values)), _STRING[bus, width, write], b""
    if width == HAZARDOUS_WIDTH:
        return (data & (1 << 128) - 1).to_bytes(width, "little"), Form.STORE_16, b""
    if insn:
        code = encodings.store_of_length(bus, width, insn, data)
        return b"", Form.CUSTOM, code or b""
    return b"", _PLAIN[bus, width, write], b""


def _wrong_place(access: Access) -> str:
    extent = max(1, len(access.values)) * access.width
    if not 0 <= access.address < _LIMIT[access.bus]:
        return f"its address is not below {_LIMIT[access.bus]:#x}"
    if extent > mailbox.BUFFER_BYTES:
        return f"its elements take more than {mailbox.BUFFER_BYTES} bytes"
    own = access.bus == MMIO and access.address < layout.RAM_END
    if own and access.address + extent > layout.RAM_GPA:
        return "it would hit the guest's own memory"
    return ""
