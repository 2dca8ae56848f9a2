"""What is said of an exit that ends a guest, with descriptions written out here."""

from __future__ import annotations

from struct import pack

import pytest

from kvmabi import uapi
from kvmabi.vmm.pc.crash import why

UNION_AT = 32
"""Source: struct kvm_run, <linux/kvm.h>: what describes the exit stands there."""
CODE = bytes.fromhex("0f01ca9090")


def run(reason: int, body: bytes = b"") -> uapi.kvm_run:
    image = bytearray(pack("<8xI", reason).ljust(UNION_AT, b"\0") + body)
    return uapi.kvm_run.from_buffer_copy(bytes(image).ljust(4096, b"\0"))


def emulation(ndata: int, flags: int, size: int, code: bytes = CODE) -> uapi.kvm_run:
    return run(17, pack("<IIQB15s", 1, ndata, flags, size, code))


def test_the_instruction_is_shown_where_kvm_gives_its_bytes() -> None:
    text = why(emulation(ndata=3, flags=1, size=3))
    assert (
        text
        == "KVM could not go on (an internal error: it cannot emulate an instruction, 0f 01 ca)"
    )


@pytest.mark.parametrize(("ndata", "flags"), [(3, 0), (3, 2), (1, 1), (0, 1)])
def test_bytes_that_kvm_does_not_vouch_for_are_not_shown(ndata: int, flags: int) -> None:
    assert why(emulation(ndata, flags, size=3)).endswith("it cannot emulate an instruction)")


def test_a_length_beyond_the_bytes_shows_no_more_than_there_are() -> None:
    assert why(emulation(ndata=3, flags=1, size=255)).count("90") == 2
    assert len(why(emulation(3, 1, 255)).split(", ")[-1].rstrip(")").split()) == 15


@pytest.mark.parametrize(
    ("reason", "body", "text"),
    [
        (8, b"", "triple fault"),
        (9, pack("<Q", 0x80000021), "refused to enter the guest (reason 0x80000021)"),
        (17, pack("<II", 3, 0), "an exit while it delivered an event"),
        (17, pack("<II", 99, 0), "an internal error: number 99"),
        (24, b"", "exit reason 24, which this machine does not serve"),
    ],
)
def test_every_end_has_its_words(reason: int, body: bytes, text: str) -> None:
    assert text in why(run(reason, body))
