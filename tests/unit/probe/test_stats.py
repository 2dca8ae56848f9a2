"""Binary statistics out of bytes."""

from __future__ import annotations

import struct

import pytest

from kvmabi.errors import AbiError
from kvmabi.probing.gather.stats import parse

NAME_BYTES = 48
HEADER = struct.Struct("=6I")
DESCRIPTOR = struct.Struct("=IhHII")
CUMULATIVE_NANOSECONDS = 0x0 | 0x20
LOG_HISTOGRAM_BYTES_POW2 = 0x4 | 0x10 | 0x100


def blob(*, count: int = 2, size: int = 1, cut: int = 0) -> bytes:
    """Two statistics by the layout of the kernel's documentation: one number, one histogram."""
    identity_at = HEADER.size
    descriptors_at = identity_at + NAME_BYTES
    data_at = descriptors_at + 2 * (DESCRIPTOR.size + NAME_BYTES)
    header = HEADER.pack(0, NAME_BYTES, count, identity_at, descriptors_at, data_at)
    first = DESCRIPTOR.pack(CUMULATIVE_NANOSECONDS, -9, size, 0, 0) + b"wait_ns".ljust(48, b"\0")
    second = DESCRIPTOR.pack(LOG_HISTOGRAM_BYTES_POW2, 10, 3, 8, 0) + b"sizes".ljust(48, b"\0")
    data = struct.pack("=4Q", 7, 1, 0, 2)
    whole = header + b"kvm-1".ljust(NAME_BYTES, b"\0") + first + second + data
    return whole[: len(whole) - cut]


def read(data: bytes) -> object:
    return parse(lambda size, offset: data[offset : offset + size])


def test_names_kinds_units_and_values() -> None:
    assert read(blob()) == {
        "id": "kvm-1",
        "statistics": [
            {
                "name": "wait_ns",
                "kind": "cumulative",
                "unit": "seconds",
                "scale": "10^-9",
                "bucket": 0,
                "values": [7],
            },
            {
                "name": "sizes",
                "kind": "logarithmic histogram",
                "unit": "bytes",
                "scale": "2^10",
                "bucket": 0,
                "values": [1, 0, 2],
            },
        ],
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (blob(cut=1), "the statistics end"),
        (blob(cut=120), "the statistics end"),
        (blob(count=100_000), "100000 statistics"),
        (blob(size=0), "0 values"),
        (b"", "the statistics end"),
    ],
)
def test_what_contradicts_itself_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(AbiError, match=message):
        read(data)
