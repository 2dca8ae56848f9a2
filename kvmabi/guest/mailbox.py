"""The mailbox as the host sees it: the layout of mailbox.h, for `struct`.

Offsets are in bytes from the start of a vCPU's mailbox. A test compares all of this with the
header, read by kvmabi's own parser.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final

MAGIC: Final = 0x3174_7365_7462_6B76
BATCH: Final = 64
"""Requests in a mailbox."""
BUFFER_BYTES: Final = 4096
INSN_BYTES: Final = 16
MAX_INSN_LENGTH: Final = 15
"""The longest x86 instruction."""
LANDING_PADS: Final = 16
"""What `landing` is where KVM resumed at exactly the next instruction."""


class Status(enum.IntEnum):
    """`status`: how starting went."""

    BOOTING = 0
    READY = 1
    NO_DEVICE = 2
    ODD_BARS = 3


MISLED: Final = (Status.NO_DEVICE, Status.ODD_BARS)
"""The guest has looked for its device, and did not find it as it is."""


class Form(enum.IntEnum):
    """`form` of a request: the kind of instruction that makes the access."""

    STORE_1 = 0
    STORE_2 = 1
    STORE_4 = 2
    STORE_8 = 3
    STORE_16 = 4
    LOAD_1 = 5
    LOAD_2 = 6
    LOAD_4 = 7
    LOAD_8 = 8
    OUT_1 = 9
    OUT_2 = 10
    OUT_4 = 11
    IN_1 = 12
    IN_2 = 13
    IN_4 = 14
    MOVS_TO_1 = 15
    MOVS_TO_2 = 16
    MOVS_TO_4 = 17
    MOVS_TO_8 = 18
    MOVS_FROM_1 = 19
    MOVS_FROM_2 = 20
    MOVS_FROM_4 = 21
    MOVS_FROM_8 = 22
    OUTS_1 = 23
    OUTS_2 = 24
    OUTS_4 = 25
    INS_1 = 26
    INS_2 = 27
    INS_4 = 28
    CUSTOM = 29


HEADER: Final = Struct("<QIIIIQIIIIQII")
HEADER_FIELDS: Final = (
    "magic",
    "status",
    "vcpu",
    "current",
    "end",
    "bar0_gpa",
    "bar0_bytes",
    "bar1_port",
    "bar1_bytes",
    "bdf",
    "stack",
    "timed",
    "reserved",
)
STATUS: Final = 8
VCPU: Final = 12
CURRENT: Final = 16
END: Final = 20
TIMED: Final = 56

REQUEST: Final = Struct("<QQIIII16sQQII")
REQUEST_FIELDS: Final = (
    *("address", "data", "form", "count", "buffer", "insn_length", "insn"),
    *("value", "cycles", "landing", "done"),
)
ASKED: Final = Struct("<QQIIII16s24x")
"""A request as the host writes it: with its results zeroed."""
ASKED_PLAIN: Final = Struct("<QQI52x")
"""The same for a plain access, which needs no more than address, data and form."""
RESULT: Final = Struct("<48xQQII")
"""What the guest has written into a request."""
REQUESTS: Final = HEADER.size

BUFFER: Final = REQUESTS + BATCH * REQUEST.size
CODE: Final = BUFFER + BUFFER_BYTES
CODE_BYTES: Final = 128
MAILBOX_BYTES: Final = CODE + CODE_BYTES
