"""kvmabi.uapi as it is shipped: facts of the ABI that its documents give."""

from __future__ import annotations

import ctypes

from kvmabi.uapi import x86


def test_known_numbers():
    # The kernel's Documentation/virt/kvm/api.rst and ioctl-number.rst: type 0xAE.
    assert x86.KVM_GET_API_VERSION == 0xAE00
    assert x86.KVM_CREATE_VM == 0xAE01
    assert x86.KVM_RUN == 0xAE80
    assert x86.KVM_IOEVENTFD == 0x4040AE79
    assert ctypes.sizeof(x86.kvm_ioeventfd) == 64
    assert ctypes.sizeof(x86.kvm_run) == 2352


def test_pv_mmio_takes_the_next_free_bit_and_the_mask_grows():
    assert x86.kvm_ioeventfd_flag_nr_pv_mmio == x86.kvm_ioeventfd_flag_nr_max == 5
    assert x86.KVM_IOEVENTFD_FLAG_PV_MMIO == 1 << 5
    assert x86.KVM_IOEVENTFD_VALID_FLAG_MASK == 0x3F
    assert x86.OVERLAY_BASE == {"KVM_IOEVENTFD_VALID_FLAG_MASK": 0x1F}
    assert {"KVM_IOEVENTFD_FLAG_PV_MMIO", "kvm_ioeventfd_flag_nr_pv_mmio"} == x86.OVERLAY_ADDED


def test_what_has_no_value_says_why():
    assert "PAGE_SIZE" in x86.OPAQUE["KVM_COALESCED_MMIO_MAX"]
    assert not hasattr(x86, "KVM_COALESCED_MMIO_MAX")
    assert not set(x86.OPAQUE) & set(x86.__all__)


def test_fields_behind_anonymous_members():
    run = x86.kvm_run()
    run.mmio.phys_addr = 0x1234
    assert x86.kvm_run.mmio.offset == 32
    assert bytes(run)[32:34] == b"\x34\x12"
    assert run.system_event.type == 0x1234


def test_flexible_arrays():
    assert x86.kvm_cpuid2.entries.offset == ctypes.sizeof(x86.kvm_cpuid2) == 8
    assert ctypes.sizeof(x86.kvm_cpuid_entry2) == 40
