"""Drift: the built-in ABI against the kernel's BTF, and against facts that were bent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvmabi.abi import btf
from kvmabi.probing.gather import drift
from kvmabi.probing.gather.drift import Layout

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
    assert drift.enumerator_drift({name: 1, "kvm_of_the_kernel": 3}) == ([], 1)
    moved, _ = drift.enumerator_drift({name: 2})
    assert [(one["built_in"], one["running"]) for one in moved] == [(1, 2)]
    news, _ = drift.enumerator_drift({"kvm_ioeventfd_flag_nr_news": 6})
    assert [(one["built_in"], one["running"]) for one in news] == [(None, 6)]


def test_our_own_overlays_are_no_drift() -> None:
    assert "kvm_ioeventfd_flag_nr_pv_mmio" not in drift.our_integers()
    assert drift.our_integers()["KVM_IOEVENTFD_VALID_FLAG_MASK"] == 0x1F


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


def test_no_btf_is_a_reason_to_skip(tmp_path: Path) -> None:
    from kvmabi.probing.setting import Setting, Skip

    with pytest.raises(Skip, match="no BTF"):
        drift.gather(Setting(root=tmp_path))
