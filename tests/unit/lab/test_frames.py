from __future__ import annotations

import pytest

from kvmabi.lab.frames import HEADER, LONGEST_BYTES, MARK, Decoder, Frame, Kind, encode

FRAMES = [
    Frame(Kind.READY, b"{}"),
    Frame(Kind.OUT, b""),
    Frame(Kind.LOG, MARK + b"inside" + MARK),
    Frame(Kind.EXIT, bytes(range(256))),
]
STREAM = b"".join(encode(one.kind, one.payload) for one in FRAMES)


@pytest.mark.parametrize("step", [1, 2, 7, 19, len(STREAM)])
def test_frames_come_out_however_they_are_cut(step: int) -> None:
    decoder = Decoder()
    pieces = [STREAM[at : at + step] for at in range(0, len(STREAM), step)]
    assert [frame for piece in pieces for frame in decoder.feed(piece)] == FRAMES
    assert decoder.lost_bytes == 0


def test_noise_between_frames_is_left_out_and_counted() -> None:
    noisy = b"boot\n" + encode(Kind.OUT, b"one") + b"\xab\xab" + encode(Kind.ERR, b"two")
    decoder = Decoder()
    assert [one.payload for one in decoder.feed(noisy)] == [b"one", b"two"]
    assert decoder.lost_bytes == 7


@pytest.mark.parametrize("at", [3, 4, 8, HEADER.size])
def test_a_damaged_frame_is_left_out(at: int) -> None:
    first = bytearray(encode(Kind.OUT, b"first"))
    first[at] ^= 0xFF
    decoder = Decoder()
    found = list(decoder.feed(bytes(first) + encode(Kind.OUT, b"second") + bytes(300)))
    if at != 4:  # a damaged length may swallow what follows, up to its own end
        assert [one.payload for one in found] == [b"second"]
    assert b"first" not in [one.payload for one in found]


def test_an_absurd_length_is_no_frame() -> None:
    bad = HEADER.pack(MARK, b"O", LONGEST_BYTES + 1, 0)
    assert [one.payload for one in Decoder().feed(bad + encode(Kind.OUT, b"x"))] == [b"x"]


def test_a_long_payload_becomes_several_frames() -> None:
    payload = bytes(LONGEST_BYTES + 5)
    found = list(Decoder().feed(encode(Kind.RECORDS, payload)))
    assert [len(one.payload) for one in found] == [LONGEST_BYTES, 5]
