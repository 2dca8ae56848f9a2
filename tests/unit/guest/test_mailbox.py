"""mailbox.py, mailbox.h and access.S describe the same memory."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from kvmabi.abi.build import read_abi
from kvmabi.arch import X86
from kvmabi.guest import mailbox
from kvmabi.header import HeaderTree

GUEST = Path(mailbox.__file__).parent


@pytest.fixture(scope="module")
def abi():
    return read_abi(HeaderTree((GUEST,)), X86, includes=("mailbox.h",))


def layout_of(record) -> dict[str, tuple[int, int]]:
    return {field.name: (field.offset, field.size) for field in record.fields}


def layout_in_python(fields: tuple[str, ...], packed: struct.Struct) -> dict[str, tuple[int, int]]:
    codes = re.findall(r"\d*[a-zA-Z]", packed.format)
    assert len(codes) == len(fields)
    sizes = [struct.calcsize("<" + code) for code in codes]
    return {name: (sum(sizes[:at]), sizes[at]) for at, name in enumerate(fields)}


def test_the_requests_agree(abi) -> None:
    record = abi.records["mailbox_request"]
    assert layout_of(record) == layout_in_python(mailbox.REQUEST_FIELDS, mailbox.REQUEST)
    assert record.size == mailbox.REQUEST.size


def test_what_each_side_writes_of_a_request() -> None:
    request = bytearray(b"\xff" * mailbox.REQUEST.size)
    mailbox.ASKED.pack_into(request, 0, 1, 2, 3, 4, 5, 6, b"i" * 16)
    assert mailbox.REQUEST.unpack(request) == (1, 2, 3, 4, 5, 6, b"i" * 16, 0, 0, 0, 0)
    mailbox.ASKED_PLAIN.pack_into(request, 0, 1, 2, 3)
    assert mailbox.REQUEST.unpack(request) == (1, 2, 3, 0, 0, 0, bytes(16), 0, 0, 0, 0)
    request = bytearray(mailbox.REQUEST.pack(1, 2, 3, 4, 5, 6, b"i" * 16, 7, 8, 9, 10))
    assert mailbox.RESULT.unpack(request) == (7, 8, 9, 10)


def test_the_mailbox_agrees(abi) -> None:
    record = abi.records["mailbox"]
    expected = layout_in_python(mailbox.HEADER_FIELDS, mailbox.HEADER)
    expected["requests"] = (mailbox.REQUESTS, mailbox.BATCH * mailbox.REQUEST.size)
    expected["buffer"] = (mailbox.BUFFER, mailbox.BUFFER_BYTES)
    expected["code"] = (mailbox.CODE, mailbox.CODE_BYTES)
    assert layout_of(record) == expected
    assert record.size == mailbox.MAILBOX_BYTES


@pytest.mark.parametrize(
    ("python", "field"),
    [
        ("STATUS", "status"),
        ("CURRENT", "current"),
        ("VCPU", "vcpu"),
        ("END", "end"),
        ("TIMED", "timed"),
    ],
)
def test_the_offsets_that_loops_use_agree(abi, python: str, field: str) -> None:
    assert getattr(mailbox, python) == layout_of(abi.records["mailbox"])[field][0]


@pytest.mark.parametrize(
    ("prefix", "members"),
    [("FORM_", mailbox.Form), ("MAILBOX_", mailbox.Status)],
)
def test_the_enums_agree(abi, prefix: str, members) -> None:
    in_c = {
        name.removeprefix(prefix): one.value
        for name, one in abi.enumerators.items()
        if name.startswith(prefix)
    }
    if prefix == "FORM_":
        assert in_c.pop("COUNT") == len(members)
    assert in_c == {one.name: one.value for one in members}


@pytest.mark.parametrize(
    ("macro", "value"),
    [
        ("MAILBOX_MAGIC", mailbox.MAGIC),
        ("MAILBOX_BATCH", mailbox.BATCH),
        ("MAILBOX_BUFFER_BYTES", mailbox.BUFFER_BYTES),
        ("MAILBOX_INSN_BYTES", mailbox.INSN_BYTES),
        ("MAILBOX_LANDING_PADS", mailbox.LANDING_PADS),
        ("MAILBOX_CODE_BYTES", mailbox.CODE_BYTES),
    ],
)
def test_the_macros_agree(abi, macro: str, value: int) -> None:
    assert abi.macros[macro].value == value


def test_the_assembly_uses_the_offsets_of_the_header(abi) -> None:
    text = (GUEST / "access.S").read_text()
    found = {name: int(value) for name, value in re.findall(r"\.set (\w+), (\d+)", text)}
    records = {"BOX": "mailbox", "REQUEST": "mailbox_request"}
    for name, value in found.items():
        prefix, _, field = name.partition("_")
        record = abi.records[records[prefix]]
        assert value == (record.size if field == "BYTES" else layout_of(record)[field.lower()][0])
    assert len(found) >= 15


def test_every_form_has_its_stub_at_its_place() -> None:
    text = (GUEST / "access.S").read_text()
    table = text[text.index("access_stubs:\n") :]
    names = [
        name.upper() for line in re.findall(r"\.quad\t(.*)", table) for name in line.split(", ")
    ]
    assert names == [form.name for form in mailbox.Form]
