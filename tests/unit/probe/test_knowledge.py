"""The tables of facts: consistent in themselves, with the header and with this kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmabi.probing import host
from kvmabi.probing.cpuid_insn import cpuid
from kvmabi.probing.knowledge import caps, msrs
from kvmabi.probing.knowledge import cpuid as bits
from kvmabi.uapi import x86

CAPABILITIES = {name for name in vars(x86) if name.startswith("KVM_CAP_")}


def test_every_capability_in_the_tables_is_in_the_header() -> None:
    known = {*caps.MASKS, *(one.name for one in caps.common("x86_64"))}
    known |= set(caps.UNITS)
    assert known <= CAPABILITIES, known - CAPABILITIES
    assert len(caps.common("x86_64")) > len(caps.common("aarch64")) > 10


def test_no_capability_has_two_meanings() -> None:
    assert not caps.MASKS.keys() & caps.UNITS.keys()
    names = [one.name for one in caps.common("x86_64")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", caps.MASKS)
def test_every_mask_has_names_in_the_header(name: str) -> None:
    mask = caps.MASKS[name]
    found = [one for one in vars(x86) if one.startswith(mask.prefix) and one.endswith(mask.suffix)]
    assert found or mask.extra


@pytest.mark.parametrize(
    ("name", "machine", "expected"),
    [
        ("KVM_CAP_PPC_SMT", "x86_64", False),
        ("KVM_CAP_PPC_SMT", "ppc64le", True),
        ("KVM_CAP_X86_SMM", "x86_64", True),
        ("KVM_CAP_X86_SMM", "aarch64", False),
        ("KVM_CAP_HYPERV", "riscv64", False),
        ("KVM_CAP_IRQFD", "s390x", True),
        ("KVM_CAP_ARM_SVE", "aarch64", True),
    ],
)
def test_whose_a_capability_is(name: str, machine: str, expected: bool) -> None:
    assert caps.is_of(name, machine) is expected


@pytest.mark.parametrize(
    ("text", "release"),
    [("6.18.44-fc", (6, 18)), ("6.1.0-rc3+", (6, 1)), ("5.4", (5, 4)), ("odd", (0, 0))],
)
def test_releases(text: str, release: tuple[int, int]) -> None:
    assert caps.release_of(text) == release


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (0x10, "TSC"),
        (0xC0000080, "EFER"),
        (0x4B564D03, "KVM_STEAL_TIME"),
        (0xC2, "PERFCTR1"),
        (0x200, "MTRRphysBase0"),
        (0x203, "MTRRphysMask1"),
        (0x406, "MC1_ADDR"),
        (0x40000091, "HV_SINT1"),
        (0x400000B3, "HV_STIMER1_COUNT"),
        (0xDEAD0000, ""),
    ],
)
def test_msr_names(index: int, name: str) -> None:
    assert msrs.msr_name(index) == name


def test_no_msr_has_two_names() -> None:
    names = list(msrs.NAMES.values())
    assert len(set(names)) == len(names)


def test_no_register_has_more_than_32_bits_or_a_bit_twice() -> None:
    for names in bits.NAMES.values():
        named = [name for name in names if name != "-"]
        assert len(names) <= 32
        assert len(set(named)) == len(named)


def test_features_are_decoded_and_what_has_no_name_is_kept() -> None:
    assert bits.features_of(1, 0, "ecx", 1 | 1 << 31) == (["sse3", "hypervisor"], 0)
    assert bits.features_of(1, 0, "ecx", 1 << 16) == ([], 1 << 16)
    assert bits.features_of(1, 0, "eax", 1) is None


# Names that Linux gives to other bits than the manuals do, or clears by itself.
NOT_BY_BIT = {"pn", "ht", "apic", "aperfmperf", "constant_tsc", "xtopology"}


def test_the_bits_are_those_of_the_running_kernel() -> None:
    if os.uname().machine != "x86_64" or cpuid(0) is None:
        pytest.skip("CPUID cannot be asked here")
    flags = host.cpu_flags(Path("/"))
    seen: set[str] = set()  # AMD repeats leaf 1 in 0x80000001
    for (function, index, register), names in bits.NAMES.items():
        top = cpuid(function & 0xFFFF_0000)
        if function >> 16 == 0x4000 or top is None or top.eax < function:
            continue
        registers = cpuid(function, index)
        assert registers is not None
        value = getattr(registers, register)
        for bit, name in enumerate(names):
            if name in flags - NOT_BY_BIT - seen:
                assert value >> bit & 1, f"{name} is not bit {bit} of {function:#x} {register}"
                seen.add(name)
    assert len(seen) > 40
