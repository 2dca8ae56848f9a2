"""Flexible arrays with a length: sizes, places, bounds, and either byte order."""

from __future__ import annotations

import ctypes
import importlib

import pytest

from kvmabi import arch
from kvmabi.uapi import s390, x86
from kvmabi.uapi.flexible import allocate, flexible_field, with_length


def test_two_hundred_cpuid_entries():
    table = allocate(x86.kvm_cpuid2, 200)
    assert isinstance(table, x86.kvm_cpuid2)
    # Documentation/virt/kvm/api.rst: 8 bytes, then 40 for each entry.
    assert ctypes.sizeof(table) == 8 + 200 * 40 == len(bytes(table))
    assert bytes(table) == bytes(8008)
    table.nent = 200
    table.entries[199].function = 0x12345678
    assert bytes(table)[8 + 199 * 40 :][:4] == b"\x78\x56\x34\x12"
    assert len(table.entries) == 200
    for index in (200, -201):
        with pytest.raises(IndexError):
            table.entries[index]
    with pytest.raises(TypeError):
        table.entries[0] = 5


def test_big_endian_elements():
    found = allocate(s390.kvm_reg_list, 2)
    found.n, found.reg[1] = 2, 5
    assert bytes(found) == bytes([0] * 7 + [2] + [0] * 8 + [0] * 7 + [5])


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
@pytest.mark.parametrize("length", [0, 1, 3, 200])
def test_every_flexible_array_of_the_abi(name, length):
    module = importlib.import_module(f"kvmabi.uapi.{name}")
    tried = 0
    for class_ in vars(module).values():
        if not (isinstance(class_, type) and issubclass(class_, ctypes.Structure)):
            continue
        try:
            field = flexible_field(class_)
        except (TypeError, AttributeError):
            continue
        wanted = with_length(class_, length)
        element = ctypes.sizeof(getattr(wanted(), field)) // max(length, 1)
        padding = -(ctypes.sizeof(class_) + length * element) % ctypes.alignment(class_)
        assert ctypes.sizeof(wanted) == ctypes.sizeof(class_) + length * element + padding
        assert getattr(wanted, field).offset == getattr(class_, field).offset
        assert len(getattr(wanted(), field)) == length
        tried += 1
    assert tried >= 4


def test_what_has_no_flexible_array_or_no_length():
    with pytest.raises(TypeError, match="does not end in a flexible array"):
        allocate(x86.kvm_regs, 1)
    with pytest.raises(ValueError, match="-1 elements"):
        allocate(x86.kvm_cpuid2, -1)


def test_one_class_for_one_length():
    assert with_length(x86.kvm_cpuid2, 7) is with_length(x86.kvm_cpuid2, 7)
