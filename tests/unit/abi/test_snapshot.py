"""Facts as lines and back, and the snapshots that are committed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kvmabi import arch
from kvmabi.abi import snapshot
from kvmabi.abi.diff import diff_facts
from kvmabi.abi.facts import ConstantFact, Facts, facts_of
from kvmabi.abi.model import Abi
from kvmabi.errors import AbiError, UsageError

TEXT = """
#include <linux/ioctl.h>
struct kvm_a { char c; unsigned b : 3; union { int v; long w[2]; struct { int in; } s[2]; }; };
enum { KVM_E = -2 };
#define KVM_N 16
#define KVM_X 0x10u
#define KVM_S "two words = \\"x\\""
#define KVM_ALIAS KVM_N
#define __KVM_HAVE_A
#define KVM_F(x, ...) (x)
#define KVM_GO _IOWR(0xae, 1, struct kvm_a)
#define KVM_STOP _IO(0xae, 2)
#define KVM_BAD _IOW(0xae, 3, struct nowhere)
"""


@pytest.fixture
def facts(abi_of: Callable[..., Abi]) -> Facts:
    return facts_of(abi_of(TEXT))


def test_lines_say_the_facts(facts: Facts) -> None:
    lines = snapshot.lines_of(facts)
    assert lines == sorted(lines)
    assert {
        "struct kvm_a 24 8",
        "field kvm_a 0x0000+1 c i8",
        "field kvm_a 0x0001:0+0.375 b u32",
        "field kvm_a 0x0008+4 v i32",
        "field kvm_a 0x0008+16 w i64[2]",
        "field kvm_a 0x0008+4 s[].in i32",
        "enumerator KVM_E -2",
        "macro KVM_N 16",
        "macro KVM_X 0x10",
        "macro KVM_ALIAS 16 = KVM_N",
        "macro __KVM_HAVE_A",
        "ioctl KVM_GO 0xc018ae01 RW 24 struct kvm_a",
        "ioctl KVM_STOP 0x0000ae02",
        "opaque KVM_BAD struct nowhere is not defined",
    } <= set(lines)


def test_lines_give_the_facts_back(facts: Facts) -> None:
    assert snapshot.facts_from(snapshot.lines_of(facts)) == facts


@pytest.mark.parametrize(
    "line",
    ["", "struct", "struct kvm_a", "field kvm_a 0x0 x", "macro KVM_A one", "nonsense x 1",
     "ioctl KVM_A", "field kvm_nowhere 0x0000+4 x u32"],
)  # fmt: skip
def test_a_line_that_is_no_fact_is_refused(line: str) -> None:
    with pytest.raises(AbiError):
        snapshot.facts_from([line])


def test_a_fact_stands_once_with_the_architectures_that_have_it(facts: Facts) -> None:
    other = replace(facts, constants={**facts.constants, "KVM_N": ConstantFact("macro", 17)})
    lines = snapshot.text_of({"x86": facts, "s390": other}).splitlines()
    assert "x--s--- macro KVM_X 0x10" in lines
    assert "x------ macro KVM_N 16" in lines
    assert "---s--- macro KVM_N 17" in lines


def write(folder: Path, facts: dict[str, Facts], overlaid: dict[str, Facts]) -> None:
    record = {"version": "9.9.1", "architectures": list(facts), "absent": {"mips": "gone"}}
    (folder / "9.9.json").write_text(json.dumps(record))
    (folder / "9.9.txt").write_text(snapshot.text_of(facts))
    (folder / "9.9+more.txt").write_text(snapshot.overlay_text(facts, overlaid))


def test_a_snapshot_and_its_overlay_come_back(facts: Facts, tmp_path: Path) -> None:
    changed = {**facts.constants, "KVM_N": ConstantFact("macro", 99)}
    del changed["KVM_E"]
    overlaid = replace(facts, constants=changed)
    write(tmp_path, {"x86": facts, "s390": facts}, {"x86": overlaid, "s390": facts})
    plain = snapshot.load("9.9", folder=tmp_path)
    assert (plain.version, plain.absent) == ("9.9.1", {"mips": "gone"})
    assert plain.facts == {"x86": facts, "s390": facts}
    more = snapshot.load("9.9", ["more"], folder=tmp_path)
    assert more.facts == {"x86": overlaid, "s390": facts}
    assert (tmp_path / "9.9+more.txt").read_text().splitlines() == [
        "- x------ enumerator KVM_E -2",
        "- x------ macro KVM_N 16",
        "+ x------ macro KVM_N 99",
    ]


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("6.18.44-fc-v669", "6.12"), ("6.12.1", "6.12"), ("6.11.0", "6.1"), ("6.1.0-50", "6.1"),
        ("5.10.0", "6.1"), ("7.1.9", "6.12"), ("7.2.0-rc1", "7.2"), ("8.0", "7.2"),
    ],
)  # fmt: skip
def test_the_nearest_is_the_newest_that_is_not_newer(release: str, name: str) -> None:
    assert snapshot.nearest(release) == name


def test_without_any_there_is_no_nearest(tmp_path: Path) -> None:
    with pytest.raises(AbiError, match="without snapshots"):
        snapshot.nearest("6.1", tmp_path)
    assert snapshot.names(tmp_path / "none") == []


def test_what_is_not_kept_is_said() -> None:
    with pytest.raises(UsageError, match=r"no snapshot '5\.4'; there are: 6\.1, 6\.12, 7\.2"):
        snapshot.load("5.4")
    with pytest.raises(UsageError, match="has no overlay 'nothing'"):
        snapshot.load("7.2", ["nothing"])


@pytest.mark.parametrize("name", ["6.1", "6.12", "7.2"])
def test_committed_snapshots_hold_every_architecture_or_say_why_not(name: str) -> None:
    found = snapshot.load(name)
    assert found.facts.keys() | found.absent.keys() == arch.ARCHITECTURES.keys()
    lines = (snapshot.FOLDER / f"{name}.txt").read_text().splitlines()
    assert lines == sorted(lines, key=lambda line: line[8:])
    for own in found.facts.values():
        assert {"kvm_run", "kvm_ioeventfd", "kvm_regs"} <= own.records.keys()
        assert own.constants["KVM_API_VERSION"].value == 12
        assert own.constants["KVM_IOEVENTFD_VALID_FLAG_MASK"].value == 0x1F


def test_loongarch_came_between_6_1_and_6_12() -> None:
    assert set(snapshot.load("6.1").absent) == {"loongarch"}
    assert not snapshot.load("6.12").absent


@pytest.mark.parametrize("name", ["6.1", "6.12", "7.2"])
def test_the_overlay_adds_a_flag_and_its_bit_on_every_architecture(name: str) -> None:
    plain, more = snapshot.load(name), snapshot.load(name, ["pv-mmio"])
    changes = diff_facts(plain.facts, more.facts)
    assert {(c.name, c.what) for c in changes} == {
        ("KVM_IOEVENTFD_FLAG_PV_MMIO", "added"),
        ("KVM_IOEVENTFD_VALID_FLAG_MASK", "changed"),
        ("kvm_ioeventfd_flag_nr_pv_mmio", "added"),
    }
    assert {c.architectures for c in changes} == {tuple(plain.facts)}


def test_what_is_known_of_6_1_to_7_2_is_found() -> None:
    """From the kernel's history, not from what the diff said."""
    changes = diff_facts(snapshot.load("6.1").facts, snapshot.load("7.2").facts)
    found = {(c.kind, c.name, c.what): c for c in changes}
    assert ("capability", "KVM_CAP_GUEST_MEMFD", "added") in found
    assert ("ioctl", "KVM_SET_USER_MEMORY_REGION2", "added") in found
    assert ("ioctl", "KVM_ASSIGN_PCI_DEVICE", "removed") in found
    assert ("architecture", "loongarch", "added") in found
    assert not any(c.kind == "capability" and c.severity for c in changes)
    assert not any(c.what in ("moved", "same value") for c in changes)
