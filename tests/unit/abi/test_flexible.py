"""Flexible arrays with a length: sizes, places, bounds, and either byte order."""

from __future__ import annotations

import ctypes
import importlib

import pytest

from kvmabi import arch
from kvmabi.uapi import s390, x86
from kvmabi.uapi.flexible import allocate, flexible_field, flexible_paths, with_length


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


@pytest.mark.parametrize("side", ["vmx", "svm"])
def test_an_array_in_a_union_at_the_end(side):
    element = ctypes.sizeof(getattr(x86, f"kvm_{side}_nested_state_data"))
    state = allocate(x86.kvm_nested_state, 1, f"data.{side}")
    assert isinstance(state, x86.kvm_nested_state)
    # Documentation/virt/kvm/api.rst: a header of 128 bytes, then the data.
    assert len(bytes(state)) == ctypes.sizeof(state) == 128 + element
    state.size = 128 + element
    array = getattr(state.data, side)
    assert len(array) == 1
    first = ctypes.cast(array, ctypes.POINTER(ctypes.c_uint8))
    first[0], first[element - 1] = 0x12, 0x34
    assert (bytes(state)[128], bytes(state)[-1]) == (0x12, 0x34)
    assert state.hdr.pad[119] == 0
    with pytest.raises(IndexError):
        array[1]
    assert len(getattr(allocate(x86.kvm_nested_state, 0, f"data.{side}").data, side)) == 0


def test_vmcs12_is_where_c_has_it():
    state = allocate(x86.kvm_nested_state, 1, "data.vmx")
    state.data.vmx[0].vmcs12[0] = 0xAB
    state.data.vmx[0].shadow_vmcs12[4095] = 0xCD
    # asm/kvm.h: two pages of 4096 bytes.
    assert (len(bytes(state)), bytes(state)[128], bytes(state)[-1]) == (128 + 8192, 0xAB, 0xCD)


def test_an_array_in_a_structure_at_the_end():
    init = allocate(x86.kvm_tdx_init_vm, 3)
    assert len(bytes(init)) == ctypes.sizeof(x86.kvm_tdx_init_vm) + 3 * 40
    init.cpuid.nent = 3
    init.cpuid.entries[2].function = 0x12345678
    tail = ctypes.sizeof(x86.kvm_tdx_init_vm) + 2 * 40
    assert bytes(init)[tail : tail + 4] == b"\x78\x56\x34\x12"
    assert (init.cpuid.nent, len(init.cpuid.entries)) == (3, 3)


def test_which_array_must_be_clear():
    assert flexible_paths(x86.kvm_nested_state) == ("data.vmx", "data.svm")
    with pytest.raises(TypeError, match=r"may end in data\.vmx or data\.svm: name the one"):
        allocate(x86.kvm_nested_state, 1)
    with pytest.raises(TypeError, match=r"no flexible array 'data\.npt'; it has: data\.vmx"):
        allocate(x86.kvm_nested_state, 1, "data.npt")
    with pytest.raises(TypeError, match=r"it has data\.vmx or data\.svm inside its last"):
        flexible_field(x86.kvm_nested_state)
    assert flexible_paths(x86.kvm_cpuid2) == ("entries",)
    assert flexible_paths(x86.kvm_regs) == ()
