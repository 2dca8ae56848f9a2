"""What a kernel offers survives its record, and is set beside what a case is about."""

from __future__ import annotations

import json

import pytest

from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.offer import from_record, lacking, recorded
from kvmabi.ioeventfd.select import find

ALL = Kernel(0x3F, "BTF", any_length=True, no_length=True, pv_mmio=0x20)
ANY_LENGTH, PV_MMIO = "KVM_CAP_IOEVENTFD_ANY_LENGTH", "KVM_IOEVENTFD_FLAG_PV_MMIO"


@pytest.mark.parametrize("kernel", [ALL, Kernel(0x1F, "x", any_length=False, no_length=False)])
def test_a_kernel_survives_its_record(kernel: Kernel) -> None:
    kept = json.loads(json.dumps({"version": "7.2", **recorded(kernel)}))
    assert from_record(kept) == kernel


@pytest.mark.parametrize("name", recorded(ALL))
def test_a_record_that_says_less_is_no_kernel(name: str) -> None:
    assert from_record({key: value for key, value in recorded(ALL).items() if key != name}) is None


@pytest.mark.parametrize(
    ("case", "any_length", "no_length", "lacks"),
    [
        ("match-mmio-len0-any-w4-at0-write", True, False, ""),
        ("match-mmio-len0-any-w4-at0-write", False, True, ""),
        ("match-mmio-len0-any-w4-at0-write", False, False, ANY_LENGTH),
        ("match-pio-len0-any-w4-at0-write", False, True, ANY_LENGTH),
        ("match-pio-len4-equal-w4-at0-write", False, False, ""),
        ("pv-mmio-len4-at0", False, False, PV_MMIO),
    ],
)
def test_what_a_case_is_about_may_be_lacking(case, any_length, no_length, lacks) -> None:
    kernel = Kernel(0x1F, "BTF", any_length=any_length, no_length=no_length)
    assert lacking(find(case), kernel) == lacks
    assert lacking(find(case), ALL) == ""
