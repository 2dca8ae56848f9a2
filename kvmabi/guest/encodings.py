"""Store instructions of a chosen length, for what KVM does with instruction lengths.

The registers are those that the exerciser sets before a custom instruction: RBX holds the address,
RAX the data, DX the port. A length is made from the longest natural encoding that fits (no
displacement, disp8, SIB byte, disp32, immediate operand; where two are as long, the one that takes
its data from the register), and DS prefixes, which 64-bit mode
ignores, make up the rest. Source: Intel SDM volume 2, chapter 2 and the pages of MOV and OUT.
"""

from __future__ import annotations

from functools import lru_cache

from kvmabi.guest.mailbox import MAX_INSN_LENGTH

DS_PREFIX = b"\x3e"

_WIDTH_PREFIX = {1: b"", 2: b"\x66", 4: b"", 8: b"\x48"}
_OUT = {1: b"\xee", 2: b"\x66\xef", 4: b"\xef"}
_ADDRESS_FORMS = (
    b"\x03",  # [rbx]
    b"\x43\x00",  # [rbx + disp8]
    b"\x44\x23\x00",  # [rbx + disp8] by way of a SIB byte
    b"\x83\x00\x00\x00\x00",  # [rbx + disp32]
    b"\x84\x23\x00\x00\x00\x00",  # [rbx + disp32] by way of a SIB byte
)
"""ModRM with reg = 0 (EAX, or the opcode extension of C6 and C7), SIB and displacement."""


def store_of_length(bus: str, width: int, length: int, data: int) -> bytes | None:
    """An instruction of `length` bytes that stores `data` at the address or port in registers.

    None where x86 has none: stores of 2 or 8 bytes need 3, out of 2 bytes needs 2.
    """
    if not 1 <= length <= MAX_INSN_LENGTH:
        return None
    if bus == "pio":
        return _padded(_OUT[width], length) if width in _OUT else None
    if width not in _WIDTH_PREFIX:
        return None
    fitting = [code for code in _moves(width, data) if len(code) <= length]
    return _padded(max(fitting, key=len), length) if fitting else None


def lengths(bus: str, width: int) -> list[int]:
    """The lengths that a store of this kind can have."""
    return [
        length
        for length in range(1, MAX_INSN_LENGTH + 1)
        if store_of_length(bus, width, length, 0) is not None
    ]


def _padded(code: bytes, length: int) -> bytes | None:
    return code.rjust(length, DS_PREFIX) if len(code) <= length else None


@lru_cache(maxsize=4096)
def _moves(width: int, data: int) -> list[bytes]:
    prefix = _WIDTH_PREFIX[width]
    opcode = b"\x88" if width == 1 else b"\x89"
    moves = [prefix + opcode + form for form in _ADDRESS_FORMS]
    if width <= 4:
        immediate = (data & (1 << 8 * width) - 1).to_bytes(width, "little")
        opcode = b"\xc6" if width == 1 else b"\xc7"
        moves += [prefix + opcode + form + immediate for form in _ADDRESS_FORMS]
    return moves
