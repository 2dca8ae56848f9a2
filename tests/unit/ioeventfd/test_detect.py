"""The valid flags: BTF first, then the headers that the user names, then the built-in ABI."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from kvmabi.abi import snapshot
from kvmabi.abi.facts import ConstantFact, Facts
from kvmabi.errors import UsageError
from kvmabi.ioeventfd import detect
from kvmabi.ioeventfd.detect import BTF, HeaderFlags, detect_kernel
from kvmabi.kvm import System


class NoDevice:
    def check_extension(self, number: int) -> int:
        return 1


SYSTEM = cast("System", NoDevice())


def facts(**values: int) -> Facts:
    constants = {name: ConstantFact("macro", value) for name, value in values.items()}
    return Facts({}, constants, {}, {}, {})


def patched() -> HeaderFlags:
    side = snapshot.load("7.2", ["pv-mmio"])
    return HeaderFlags.of(side.facts["x86"], "a tree")


def test_a_patched_tree_gives_its_flag_and_mask() -> None:
    assert (patched().valid_flag_mask, patched().pv_mmio) == (0x3F, 0x20)


def test_without_the_macro_the_enumerators_count_is_the_mask() -> None:
    assert HeaderFlags.of(facts(kvm_ioeventfd_flag_nr_max=4), "old").valid_flag_mask == 0xF


def test_headers_without_a_mask_are_refused() -> None:
    with pytest.raises(UsageError, match="a tree has no KVM_IOEVENTFD_VALID_FLAG_MASK"):
        HeaderFlags.of(facts(KVM_API_VERSION=12), "a tree")


def test_headers_count_where_there_is_no_btf(tmp_path: Path) -> None:
    kernel = detect_kernel(SYSTEM, tmp_path, patched())
    assert (kernel.valid_flag_mask, kernel.pv_mmio) == (0x3F, 0x20)
    assert kernel.mask_source == "the headers a tree"
    assert patched().disagreement(kernel) == ""


def test_without_both_the_built_in_abi_counts_without_overlays(tmp_path: Path) -> None:
    kernel = detect_kernel(SYSTEM, tmp_path)
    assert (kernel.valid_flag_mask, kernel.pv_mmio) == (0x1F, 0)
    assert "built-in" in kernel.mask_source


def test_btf_comes_before_headers_and_a_disagreement_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"kvm_ioeventfd_flag_nr_max": 5}

    def enumerators(*_: Any, **__: Any) -> dict[str, int]:
        return found

    monkeypatch.setattr(detect.btf, "enumerators", enumerators)
    kernel = detect_kernel(SYSTEM, tmp_path, patched())
    assert (kernel.valid_flag_mask, kernel.mask_source) == (0x1F, BTF)
    said = patched().disagreement(kernel)
    assert "0x3f in a tree" in said
    assert "0x1f in the running kernel's BTF" in said
