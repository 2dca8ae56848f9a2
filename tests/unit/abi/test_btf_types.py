"""Records out of BTF that was made here byte by byte."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmabi import arch
from kvmabi.abi import btf
from kvmabi.abi.btf_types import BtfTypes, running_kernel
from kvmabi.abi.facts import facts_of
from kvmabi.abi.model import Array, Enum, Pointer, Record, Unknown
from kvmabi.abi.running import compare_running
from kvmabi.abi.running_side import shared_facts
from kvmabi.errors import AbiError


def _maker():
    path = Path(__file__).with_name("test_btf.py")
    spec = importlib.util.spec_from_file_location("btf_maker", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["btf_maker"] = module
    spec.loader.exec_module(module)
    return module.Maker


Maker = _maker()
STRUCT, UNION, ARRAY, INT = btf.STRUCT, btf.UNION, btf.ARRAY, btf.INT


def kernel(order="<"):
    """int(1) u32(2) const u32(3) union{3;4}(4) array(5) s(6) e(7) ptr(8) t(9) typedef self(10)."""
    maker = Maker(order)
    maker.type(maker.string("int"), INT, 0, 4)
    maker.words(1 << 24 | 32)
    maker.type(maker.string("unsigned int"), INT, 0, 4)
    maker.words(32)
    maker.type(0, 10, 0, 2)
    maker.type(0, UNION, 2, 4)
    maker.words(maker.string("whole"), 3, 0, maker.string("half"), 1, 0)
    maker.type(0, ARRAY, 0, 0)
    maker.words(2, 1, 3)
    maker.type(maker.string("kvm_s"), STRUCT, 5, 28, flag=True)
    for name, type_, bit, width in (
        ("low", 1, 0, 3), ("high", 2, 3, 5), ("", 4, 32, 0), ("list", 5, 64, 0), ("p", 8, 160, 0)
    ):  # fmt: skip
        maker.words(maker.string(name) if name else 0, type_, width << 24 | bit)
    maker.type(maker.string("kvm_e"), btf.ENUM, 1, 4)
    maker.words(maker.string("KVM_ONE"), 1)
    maker.type(0, btf.PTR, 0, 6)
    maker.type(maker.string("kvm_t"), STRUCT, 2, 8)
    maker.words(maker.string("e"), 7, 0, maker.string("s"), 10, 32)
    maker.type(maker.string("self"), btf.TYPEDEF, 0, 10)
    return maker


@pytest.mark.parametrize("order", ["<", ">"])
def test_records_of_every_form(order):
    types = BtfTypes(btf.Btf.parse(kernel(order).data(), "sample"))
    (record,) = types.records(["kvm_s"])["kvm_s"]
    low, high, anonymous, listed, pointer = record.fields
    assert (record.kind, record.size) == ("struct", 28)
    assert (low.bit_offset, low.bit_width, high.bit_offset, high.bit_width) == (0, 3, 3, 5)
    assert anonymous.name is None
    assert isinstance(anonymous.type, Record)
    assert [f.name for f in anonymous.type.fields] == ["whole", "half"]
    assert isinstance(listed.type, Array)
    assert (listed.offset, listed.size, listed.type.count) == (8, 12, 3)
    assert isinstance(pointer.type, Pointer)
    (other,) = types.records("kvm_t")["kvm_t"]
    assert isinstance(other.fields[0].type, Enum)
    assert isinstance(other.fields[1].type, Unknown)  # a typedef of itself
    assert types.records(["kvm"]) == {}


def module_of(base):
    maker = Maker(first=len(base.strings))
    maker.type(maker.string("kvm_s"), STRUCT, 1, 4)
    maker.words(base.strings.index(b"\0list\0") + 1, 2, 0)
    return maker


def test_a_modules_types_refer_to_the_kernels_and_count_first(tmp_path):
    base = kernel()
    (tmp_path / "vmlinux").write_bytes(base.data())
    (tmp_path / "kvm").write_bytes(module_of(base).data())
    module, whole = running_kernel(tmp_path)
    (record,) = module.records(["kvm_s"])["kvm_s"]
    assert [(f.name, f.size) for f in record.fields] == [("list", 4)]
    assert whole.records(["kvm_s"])["kvm_s"][0].size == 28


def test_compared_with_headers(tmp_path, abi_of):
    (tmp_path / "vmlinux").write_bytes(kernel().data())
    text = """
    struct kvm_s { int low:3; unsigned high:5; union { unsigned whole; int half; };
                   unsigned list[%s]; void *p __attribute__((packed)); };
    struct kvm_other { int x; };
    enum { KVM_ONE = %s, KVM_TWO };
    """
    same = compare_running(facts_of(abi_of(text % ("3", "1"))), tmp_path)
    assert same.differences == []
    assert same.counts["field places"] == 3 * 6
    assert {e.subject for e in same.exclusions} >= {"kvm_other", "KVM_TWO"}
    wrong = compare_running(facts_of(abi_of(text % ("2", "2"))), tmp_path)
    assert {(d.subject, d.fact) for d in wrong.differences} == {
        ("kvm_s", "size"), ("kvm_s.list", "bits"), ("kvm_s.list", "type"),
        ("kvm_s.p", "bit offset"), ("KVM_ONE", "value"),
    }  # fmt: skip


def test_an_array_is_compared_by_its_element_and_its_number(tmp_path, abi_of):
    (tmp_path / "vmlinux").write_bytes(kernel().data())
    text = """
    struct kvm_s { int low:3; unsigned high:5; union { unsigned whole; int half; };
                   %s; void *p __attribute__((packed)); };
    """
    for member, facts in (
        ("unsigned list[3][1]", []),  # BTF knows no dimensions
        ("unsigned char list[12]", ["type"]),
        ("unsigned short list[3][2]", ["type"]),
    ):
        found = compare_running(facts_of(abi_of(text % member)), tmp_path).differences
        assert [d.fact for d in found] == facts, member


def test_a_count_that_grew_is_left_out_and_one_that_shrank_is_not(tmp_path, abi_of):
    (tmp_path / "vmlinux").write_bytes(kernel().data())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kvmabi.abi.running.is_count", lambda name: name == "KVM_ONE")
        grew = compare_running(facts_of(abi_of("enum { KVM_ONE = 0 };")), tmp_path)
        shrank = compare_running(facts_of(abi_of("enum { KVM_ONE = 2 };")), tmp_path)
    assert grew.differences == []
    assert "a count, which grew from 0 to 1" in {e.reason for e in grew.exclusions}
    assert [d.subject for d in shrank.differences] == ["KVM_ONE"]


def verify_running(monkeypatch, folder, release, *arguments):
    from kvmabi import cli

    uname = SimpleNamespace(release=release, machine=os.uname().machine)
    monkeypatch.setattr(os, "uname", lambda: uname)

    for name in ("kvmabi.abi.running.shared_facts", "kvmabi.abi.running_side.shared_facts"):
        monkeypatch.setattr(name, lambda facts, _=None: shared_facts(facts, folder))
    monkeypatch.setattr(
        "kvmabi.headersets.sources.importlib.util.find_spec",
        lambda name: pytest.fail(f"{name} is looked for, and BTF alone is compared"),
    )
    return cli.main(["abi", "verify", "--running", *arguments])


def test_the_verb_needs_no_compiler_and_names_the_versions(tmp_path, monkeypatch, capsys):
    maker = kernel()
    (tmp_path / "vmlinux").write_bytes(maker.data())
    assert verify_running(monkeypatch, tmp_path, "6.18.44") == 3  # this BTF has nothing of the ABI
    out = capsys.readouterr().out
    assert "Linux 6.12.117 (the newest that kvmabi has and that is not newer)" in out
    assert "running kernel 6.18.44" in out


@pytest.mark.parametrize(("release", "said"), [("7.2.1", False), ("6.18.1", True)])
def test_a_difference_between_versions_is_called_so(tmp_path, monkeypatch, capsys, release, said):
    maker = kernel()
    maker.type(maker.string("kvm_ioeventfd"), STRUCT, 0, 8)
    (tmp_path / "vmlinux").write_bytes(maker.data())
    assert verify_running(monkeypatch, tmp_path, release, "--headers", "7.2") == 1
    out = capsys.readouterr().out
    assert "kvm_ioeventfd: size is 64 here and 8 there" in out
    assert ("These are two versions" in out) == said


def test_without_btf_the_remedy_is_named(tmp_path):
    with pytest.raises(AbiError, match="CONFIG_DEBUG_INFO_BTF"):
        running_kernel(tmp_path)


def test_another_architecture_than_the_kernels_is_refused(capsys):
    from kvmabi import cli

    other = "s390" if arch.host().name != "s390" else "x86"
    assert cli.main(["abi", "verify", "--running", "--arch", other]) == 2
    assert "this kernel" in capsys.readouterr().err


def damaged(word, value):
    data = bytearray(kernel().data())
    data[24 + 4 * word : 28 + 4 * word] = value.to_bytes(4, "little")
    return btf.Btf.parse(bytes(data), "damaged")


@pytest.mark.parametrize(
    ("word", "value", "message"),
    [(10, 9999, "type 9999 is behind all types"), (0, 1 << 30, "behind all strings")],
)
def test_ids_and_names_out_of_range(word, value, message):
    types = BtfTypes(damaged(word, value))
    with pytest.raises(AbiError, match=message):
        for number in range(types.end):
            types.type(number)


def test_a_long_chain_of_types_ends():
    maker = Maker()
    for number in range(2, 5_000):
        maker.type(0, btf.TYPEDEF, 0, number)
    types = BtfTypes(btf.Btf.parse(maker.data(), "chain"))
    with pytest.raises(AbiError, match="inside of too many"):
        types.type(1)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(kernel().data()) - 1), st.integers(0, 255))))
def test_damaged_btf_gives_records_or_an_error(changes):
    data = bytearray(kernel().data())
    for position, value in changes:
        data[position] = value
    try:
        types = BtfTypes(btf.Btf.parse(bytes(data), "damaged"))
        types.records("kvm_")
        for number in range(types.end):
            types.type(number)
    except AbiError as error:
        assert "damaged" in str(error)  # noqa: PT017 (some damage does no harm)
