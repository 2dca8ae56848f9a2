"""The proof: every fact that we read out of kvm.h equals what clang makes of it.

The end of the run shows how many facts of each kind were compared; with -v also each one that was
left out, and why.
"""

from __future__ import annotations

import dataclasses
import types

import pytest

from kvmabi import arch
from kvmabi.abi.build import read_abi
from kvmabi.abi.model import Abi
from kvmabi.abi.proof import Proof
from kvmabi.header import HeaderTree

# What every architecture has at least: the least of these in any of them, rounded down.
LEAST = {
    "record names": 50,
    "field lists": 100,
    "field offsets": 350,
    "field sizes": 350,
    "field types": 350,
    "alignments": 100,
    "enumerators": 20,
    "enumerator values": 20,
    "macros": 500,
    "macro types": 500,
    "ioctls": 80,
    "macro names": 700,
}

REASONS = (
    "is not defined",
    "no expression",
    "no expression of C has the type of an anonymous member",
    "debug information leaves them out",
    "a function call",
    "is not known",
)


def prove(tool, architecture, *, overlay):
    tree = tool.header_tree(architecture)
    overlays = tuple(tool.overlay_sources()) if overlay else ()
    abi = read_abi(tree, architecture, overlays=overlays)
    return abi, Proof(abi, tree, overlays).run()


@pytest.mark.parametrize("overlay", [False, True], ids=["plain", "overlay"])
@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_everything_equals_the_compilers(tool, summary, name, overlay):
    _, result = prove(tool, arch.ARCHITECTURES[name], overlay=overlay)
    summary.add(f"{name}{' with overlay' if overlay else ''}", result)
    assert [str(difference) for difference in result.differences] == []
    short = {kind: result.counts[kind] for kind in LEAST if result.counts[kind] < LEAST[kind]}
    assert not short
    assert all(any(text in item.reason for text in REASONS) for item in result.exclusions)


def test_x86_has_bit_fields_to_compare(tool):
    _, result = prove(tool, arch.X86, overlay=False)
    assert result.counts["bit-fields"] >= 16


def changed(abi: Abi, part: str, name: str, **facts) -> Abi:
    table = dict(getattr(abi, part))
    table[name] = dataclasses.replace(table[name], **facts)
    return dataclasses.replace(abi, **{part: types.MappingProxyType(table)})


def without(abi: Abi, part: str, name: str) -> Abi:
    table = {key: value for key, value in getattr(abi, part).items() if key != name}
    return dataclasses.replace(abi, **{part: types.MappingProxyType(table)})


def with_field(abi: Abi, record: str, index: int, **facts) -> Abi:
    fields = list(abi.records[record].fields)
    fields[index] = dataclasses.replace(fields[index], **facts)
    return changed(abi, "records", record, fields=tuple(fields))


WRONG = {
    "kvm_ioeventfd: size": lambda abi: changed(abi, "records", "kvm_ioeventfd", size=65),
    "kvm_ioeventfd: alignment": lambda abi: changed(abi, "records", "kvm_ioeventfd", alignment=4),
    "kvm_ioeventfd.addr: offset": lambda abi: with_field(abi, "kvm_ioeventfd", 1, offset=9),
    "kvm_ioeventfd.addr: size": lambda abi: with_field(abi, "kvm_ioeventfd", 1, size=4),
    "kvm_ioeventfd: fields": lambda abi: with_field(abi, "kvm_ioeventfd", 1, name="address"),
    "kvm_ioeventfd.fd: type": lambda abi: with_field(
        abi, "kvm_ioeventfd", 3, type=abi.records["kvm_ioeventfd"].fields[2].type
    ),
    "kvm_ioeventfd_flag_nr_pio: value": lambda abi: changed(
        abi, "enumerators", "kvm_ioeventfd_flag_nr_pio", value=2
    ),
    "KVM_EXIT_IO: value": lambda abi: changed(abi, "macros", "KVM_EXIT_IO", value=3),
    "KVM_EXIT_IO: type": lambda abi: changed(abi, "macros", "KVM_EXIT_IO", c_type="long"),
    "KVM_RUN: value": lambda abi: changed(abi, "ioctls", "KVM_RUN", number=0xAE81),
    "KVM_RUN: a macro": lambda abi: without(abi, "ioctls", "KVM_RUN"),
    "kvm_regs: a record": lambda abi: without(abi, "records", "kvm_regs"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_one_wrong_fact_shows(tool, wrong):
    tree = tool.header_tree(arch.X86)
    abi = WRONG[wrong](read_abi(tree, arch.X86))
    differences = Proof(abi, tree).run().differences
    assert wrong in {f"{difference.subject}: {difference.fact}" for difference in differences}


def test_a_wrong_bit_field_shows(tmp_path):
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "kvm.h").write_text("struct s { int a:3; int b:4; };\n")
    tree = HeaderTree.of(tmp_path)
    abi = read_abi(tree, arch.X86)
    assert not Proof(abi, tree).run().differences
    for fact in ("bit_offset", "bit_width"):
        wrong = Proof(with_field(abi, "s", 1, **{fact: 5}), tree).run()
        assert [d.fact for d in wrong.differences] == [fact.replace("_", " ")]


# Other headers of the kernel, for forms that kvm.h does not have.
OTHERS = (
    "linux/bpf.h",
    "linux/nl80211.h",
    "linux/perf_event.h",
    "linux/vfio.h",
    "linux/io_uring.h",
    "linux/btrfs.h",
    "linux/iommufd.h",
    "linux/ethtool.h",
    "linux/tcp.h",
    "drm/drm_mode.h",
    "rdma/ib_user_verbs.h",
)


@pytest.mark.parametrize("name", ["x86", "s390", "mips"])
@pytest.mark.parametrize("header", OTHERS)
def test_other_headers_of_the_kernel(tool, header, name):
    architecture = arch.ARCHITECTURES[name]
    tree = tool.header_tree(architecture)
    abi = read_abi(tree, architecture, includes=(header,))
    result = Proof(abi, tree, includes=(header,)).run()
    assert [str(difference) for difference in result.differences] == []
    assert sum(result.counts.values()) > 500
