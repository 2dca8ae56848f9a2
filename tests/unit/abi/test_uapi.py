"""kvmabi.uapi as it is shipped: facts of the ABI that its documents give."""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import sys

import pytest

from kvmabi import arch, uapi
from kvmabi.uapi import _narrow, x86


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


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_every_architectures_own_ioctl_numbers(name):
    module = importlib.import_module(f"kvmabi.uapi.{name}")
    narrow = name in ("mips", "powerpc")
    # asm-generic/ioctl.h: none 0, write 1, read 2 above 14 bits of size; mips and powerpc: none 1,
    # write 4, read 2 above 13 bits.
    assert (0x2000AE80 if narrow else 0xAE80) == module.KVM_RUN
    assert (0x8040AE79 if narrow else 0x4040AE79) == module.KVM_IOEVENTFD
    assert (0x4004AE98 if narrow else 0x8004AE98) == module.KVM_GET_MP_STATE
    assert (0x2000AE03 if narrow else 0xAE03) == module.KVM_CHECK_EXTENSION
    assert module.IOCTLS["KVM_IOEVENTFD"] == "struct kvm_ioeventfd"
    assert name == module.ARCHITECTURE
    assert ctypes.sizeof(module.kvm_run) == (2368 if name == "s390" else 2352)


def test_a_part_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="ioctl size"):
        _narrow.IOW(0xAE, 1, ctypes.c_uint8 * 8192)
    assert _narrow.IOWR(0xAE, 1, ctypes.c_uint8 * 8191) == 0xDFFFAE01


def test_which_module_is_a_hosts():
    assert uapi.host_module("x86_64", "little") == "x86"
    assert uapi.host_module("s390x", "big") == "s390"
    # Big-endian powerpc and mips, and 32-bit machines, have none.
    for machine, order in (
        ("ppc64", "big"),
        ("ppc64le", "big"),
        ("mips64", "big"),
        ("i686", "little"),
    ):
        assert uapi.host_module(machine, order) == ""
    assert set(uapi.MODULES.values()) == set(arch.ARCHITECTURES)


UNKNOWN_HOST = """
import os, types
os.uname = lambda: types.SimpleNamespace(machine="sparc64")
from kvmabi import uapi
from kvmabi.uapi import s390
import kvmabi.uapi.mips
assert s390.KVM_RUN == 0xAE80
from kvmabi.errors import KvmUnavailable
try:
    uapi.KVM_RUN
except KvmUnavailable as error:
    print(error)
"""


def test_a_host_without_a_module_has_those_of_others():
    done = subprocess.run(
        [sys.executable, "-c", UNKNOWN_HOST], capture_output=True, text=True, check=True
    )
    assert "no KVM definitions for sparc64" in done.stdout
