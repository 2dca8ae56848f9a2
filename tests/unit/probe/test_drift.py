"""Drift: the built-in ABI against the kernel's BTF, and against facts that were bent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvmabi.abi import btf
from kvmabi.abi.sides import read_host_side
from kvmabi.probing.gather import drift
from kvmabi.probing.gather.common import abi_version, integers
from kvmabi.probing.gather.drift import Layout
from kvmabi.probing.setting import Setting, Skip
from kvmabi.uapi import ABI_VERSION

OURS = integers(Setting())
REGS = Layout(16, {"rax": 0, "rbx": 8})


def test_the_same_layout_is_no_drift() -> None:
    assert drift.record_drift({"kvm_r": REGS}, {"kvm_r": REGS}) == ([], 1, 2)


def test_only_what_both_have_is_compared() -> None:
    assert drift.record_drift({"kvm_a": REGS}, {"kvm_b": REGS}) == ([], 0, 0)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (replace(REGS, size=24), [("size", "struct kvm_r", 16, 24)]),
        (replace(REGS, offsets={"rax": 0, "rbx": 12}), [("offset", "struct kvm_r.rbx", 8, 12)]),
        (replace(REGS, offsets={"rax": 0}), [("offset", "struct kvm_r.rbx", 8, None)]),
        (
            replace(REGS, offsets={"rax": 0, "rbx": 8, "rcx": 16}),
            [("offset", "struct kvm_r.rcx", None, 16)],
        ),
    ],
)
def test_each_difference_is_seen(
    theirs: Layout, expected: list[tuple[str, str, int | None, int | None]]
) -> None:
    found, _, _ = drift.record_drift({"kvm_r": REGS}, {"kvm_r": theirs})
    rows = [(one["kind"], one["subject"], one["built_in"], one["running"]) for one in found]
    assert rows == expected


def test_members_that_are_left_out_are_not_compared() -> None:
    ours = replace(REGS, left_out=frozenset({"tail"}))
    theirs = replace(REGS, offsets=dict(REGS.offsets) | {"tail": 16})
    assert drift.record_drift({"kvm_r": ours}, {"kvm_r": theirs})[0] == []


def test_enumerators() -> None:
    name = "kvm_ioeventfd_flag_nr_pio"
    assert drift.enumerator_drift(OURS, {name: 1, "kvm_of_the_kernel": 3}) == ([], 1)
    moved, _ = drift.enumerator_drift(OURS, {name: 2})
    assert [(one["built_in"], one["running"]) for one in moved] == [(1, 2)]
    news, _ = drift.enumerator_drift(OURS, {"kvm_ioeventfd_flag_nr_news": 6})
    assert [(one["built_in"], one["running"]) for one in news] == [(None, 6)]


def test_our_own_overlays_are_no_drift() -> None:
    assert "kvm_ioeventfd_flag_nr_pv_mmio" not in OURS
    assert OURS["KVM_IOEVENTFD_VALID_FLAG_MASK"] == 0x1F


def test_the_running_kernel() -> None:
    if not (btf.FOLDER / "vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    enumerators, records = drift.running_facts(btf.FOLDER)
    assert enumerators["kvm_ioeventfd_flag_nr_pio"] == 1
    # Source: include/uapi/linux/kvm.h; these have not changed since they were made.
    assert records["kvm_ioeventfd"].size == 64
    assert records["kvm_ioeventfd"].offsets["fd"] == 20
    assert records["kvm_userspace_memory_region"].offsets["userspace_addr"] == 24
    found, structures, members = drift.record_drift(drift.our_records(), records)
    assert structures > 20
    assert members > 100
    assert len(found) < members / 4


def test_headers_that_are_named_give_the_names() -> None:
    found = integers(patched())
    assert found["KVM_IOEVENTFD_VALID_FLAG_MASK"] == 0x3F
    assert "KVM_CAP_GUEST_MEMFD" not in found  # which came with 6.8
    assert (abi_version(patched()), abi_version(Setting())) == ("6.1.176+pv-mmio", ABI_VERSION)


def patched() -> Setting:
    return Setting(headers=read_host_side("6.1+pv-mmio"))


def test_an_enumerator_that_a_kernel_with_its_fellows_lacks_is_news() -> None:
    fellows = {name: 0 for name in integers(patched()) if name.startswith(drift.ABI_ALONE)}
    assert drift.lacking(patched(), fellows) == []
    new = "kvm_ioeventfd_flag_nr_pv_mmio"
    del fellows[new]
    rows = [(one["subject"], one["built_in"]) for one in drift.lacking(patched(), fellows)]
    assert rows == [(new, 5)]
    assert drift.lacking(patched(), {}) == []  # no such enumeration in this BTF at all
    assert drift.lacking(Setting(), fellows) == []


def test_the_running_kernel_beside_headers() -> None:
    if not (btf.FOLDER / "vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    side = patched().headers
    assert side
    ours, theirs = drift.header_records(side, btf.FOLDER)
    assert ours.keys() == theirs.keys()
    # Source: include/uapi/linux/kvm.h; members of a union without a tag have paths of their own.
    for side_of in (ours, theirs):
        assert side_of["kvm_run"].offsets["mmio.is_write"] == 52
    found, _, _ = drift.record_drift({"kvm_run": Layout(0, {})}, {"kvm_run": theirs["kvm_run"]})
    assert found


def test_no_btf_is_a_reason_to_skip(tmp_path: Path) -> None:
    with pytest.raises(Skip, match="no BTF"):
        drift.gather(Setting(root=tmp_path))
