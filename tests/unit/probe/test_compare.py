"""What the newer kernel lost, gained and changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kvmabi.probing.compare import Comparison, compare, in_order
from kvmabi.probing.report import Report, Section

from .conftest import CAPS, CPUID, capability, make_report


def with_capability(number: int, value: int) -> dict[str, Any]:
    body = copy.deepcopy(CAPS)
    for one in body["capabilities"]:
        if one["number"] == number:
            one["system"] = one["vm"] = value
    return body


def compared(old: dict[str, Any], new: dict[str, Any]) -> Comparison:
    return compare(make_report("6.1.0", caps=old), make_report("6.12.0", caps=new))


def test_the_same_is_no_change() -> None:
    found = compared(CAPS, CAPS)
    assert (found.lost, found.gained, found.changed) == ([], [], [])
    assert found.compared == 8 + 3


@pytest.mark.parametrize(
    ("number", "value", "lost", "gained"),
    [
        (1, 0, 1, 0),  # an offer gone
        (2, 1, 0, 1),  # an offer new
        (3, 0b01, 1, 0),  # a bit gone
        (3, 0b111, 0, 1),  # a bit new
        (3, 0b101, 1, 1),  # one gone, one new
        (4, 500, 1, 0),  # a limit lower
        (4, 2000, 0, 1),  # a limit higher
    ],
)
def test_what_is_lost_and_gained(number: int, value: int, lost: int, gained: int) -> None:
    found = compared(CAPS, with_capability(number, value))
    assert (len(found.lost), len(found.gained)) == (lost, gained)
    for one in [*found.lost, *found.gained]:
        assert one.label == f"KVM_CAP_TEST_{number}"


def test_the_bits_of_a_mask_that_came_and_went_are_named() -> None:
    newer = with_capability(3, 0b101)
    newer["capabilities"][2]["bits"] = ["A", "C"]
    assert [one.new for one in compared(CAPS, newer).lost] == ["0x5 +C -B"]


def test_a_change_of_a_vm_alone_says_so() -> None:
    newer = copy.deepcopy(CAPS)
    newer["capabilities"][0]["vm"] = 0
    assert [one.label for one in compared(CAPS, newer).lost] == ["KVM_CAP_TEST_1 (vm)"]


def test_a_capability_is_known_by_its_number_where_a_report_lacks_the_name() -> None:
    newer = copy.deepcopy(CAPS)
    newer["capabilities"].append(capability(5, 1))
    older = copy.deepcopy(CAPS)
    older["unknown"].append({"number": 5, "system": 1, "vm": 1})
    assert compared(older, newer).gained == []
    assert len(compared(CAPS, newer).gained) == 1
    assert [one.label for one in compared(older, CAPS).lost] == ["capability 5"]


def test_a_vm_that_cannot_be_asked_loses_nothing() -> None:
    older = copy.deepcopy(CAPS)
    for one in older["capabilities"]:
        one["vm"] = None
    found = compared(older, CAPS)
    assert found.lost == []


def test_parameters_change_without_loss() -> None:
    older, newer = make_report("6.1.0"), make_report("6.12.0")
    newer.data("substrate")["modules"]["kvm"]["parameters"]["halt_poll_ns"] = "0"
    found = compare(older, newer)
    assert [(one.label, one.old, one.new) for one in found.changed] == [
        ("parameter kvm.halt_poll_ns", "200000", "0")
    ]
    assert not found.lost


def test_another_cpu_is_no_loss_of_the_kernel() -> None:
    less = copy.deepcopy(CPUID)
    less["supported"]["features"][0]["names"] = []
    older, newer = make_report("6.1.0", cpuid=CPUID), make_report("6.12.0", cpuid=less)
    assert [one.label for one in compare(older, newer).lost] == ["supported CPUID sse3 (0x1.0 ecx)"]
    newer.data("substrate")["cpu"]["model"] = "Another CPU"
    found = compare(older, newer)
    assert found.lost == []
    assert len(found.by_cpu) == 1


def test_a_section_that_is_not_in_both_is_said() -> None:
    older, newer = make_report("6.1.0", caps=CAPS), make_report("6.12.0")
    assert compare(older, newer).not_compared == ["caps (not in the newer)"]
    newer.sections["caps"] = Section("failed", 0.1, "no such luck")
    assert compare(older, newer).not_compared == ["caps (newer report: no such luck)"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.1.0", "6.12.0"),
        ("6.9.0", "6.10.0"),
        ("6.18.0-rc3", "6.18.0"),
        ("6.18.0-rc3", "6.18.0-rc10"),
        ("6.18.9-fc", "6.18.44-fc"),
        ("5.10", "5.10.1"),
    ],
)
def test_the_newer_kernel_is_known_by_its_release(older: str, newer: str) -> None:
    first, second = make_report(older), make_report(newer)
    for pair in ((first, second), (second, first)):
        assert [one.kernel_release for one in in_order(*pair)] == [older, newer]


def test_of_one_release_the_later_report_is_the_newer() -> None:
    def at(time: str) -> Report:
        body = make_report().to_json() | {"started": f"2026-01-01T{time}+00:00"}
        return Report.from_json(body)

    early, late = at("01:00:00"), at("02:00:00")
    assert in_order(late, early) == (early, late)
