"""BTF as clang writes it, and as the running kernel has it, read as records."""

from __future__ import annotations

import subprocess
import sys

import pytest
from elftools.elf.elffile import ELFFile

from kvmabi import arch
from kvmabi.abi import btf
from kvmabi.abi.btf_types import BtfTypes
from kvmabi.abi.build import read_abi
from kvmabi.abi.emit import needed_records
from kvmabi.abi.facts import facts_of
from kvmabi.abi.running import compare_running

ORDERS = {"bpfel": "x86", "bpfeb": "s390"}


def write_btf(folder, target, tree, records):
    lines = ["#include <linux/kvm.h>\n"]
    lines += [f"{record.kind} {record.tag} v_{record.tag};\n" for record in records]
    (folder / "types.c").write_text("".join(lines))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{target}-freestanding", "-g"]
    command += ["-w", "-O2", "-c", "-nostdinc", "-D__x86_64__", "-o", "types.o", "types.c"]
    command += [part for one in tree.folders for part in ("-isystem", str(one.resolve()))]
    subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=300)
    with (folder / "types.o").open("rb") as stream:
        (folder / "vmlinux").write_bytes(ELFFile(stream).get_section_by_name(".BTF").data())


@pytest.mark.parametrize("target", ORDERS)
def test_clangs_btf_of_all_records(tree_of, tmp_path, target):
    architecture = arch.ARCHITECTURES[ORDERS[target]]
    tree = tree_of(architecture)
    abi = read_abi(tree, architecture)
    records = [r for r in needed_records(abi) if r.tag and r.size]
    write_btf(tmp_path, target, tree, records)
    result = compare_running(facts_of(abi), tmp_path)
    assert [str(difference) for difference in result.differences] == []
    assert result.counts["record sizes"] >= 2 * 80
    assert result.counts["field places"] > 1500
    missing = [e.subject for e in result.exclusions if "no type of that name" in e.reason]
    assert set(missing) <= {r.name for r in needed_records(abi)} - {r.name for r in records}


def test_clangs_btf_of_other_headers_differs(tree_of, tmp_path):
    abi = read_abi(tree_of(arch.X86), arch.X86)
    records = [r for r in needed_records(abi) if r.tag == "kvm_regs"]
    write_btf(tmp_path, "bpfel", tree_of(arch.X86), records)
    other = read_abi(tree_of(arch.ARM64), arch.ARM64)
    found = compare_running(facts_of(other), tmp_path).differences
    assert ("kvm_regs", "size") in {(d.subject, d.fact) for d in found}


@pytest.mark.skipif(
    not (btf.FOLDER / "vmlinux").is_file(), reason="this kernel has no BTF to be read"
)
def test_the_running_kernels_ioeventfd(tree_of):
    host = arch.host()
    result = compare_running(facts_of(read_abi(tree_of(host), host)))
    assert result.counts["record sizes"] > 50
    # A struct that has not changed since 2009.
    assert not [d for d in result.differences if d.subject.startswith("kvm_ioeventfd.")]


def test_the_kernels_own_btf_is_read_whole():
    path = btf.FOLDER / "vmlinux"
    if not path.is_file():
        pytest.skip("this kernel has no BTF to be read")
    types = BtfTypes(btf.Btf.read(path))
    kinds = {type(types.type(number)).__name__ for number in range(types.end)}
    assert {"Record", "Enum", "Scalar", "Pointer", "Array"} <= kinds
