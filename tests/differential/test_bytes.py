"""Every struct written by Python has the bytes of the same struct initialised in C, and back.

Each field that can be reached is set to a value at random, of each union one member; bit-fields,
nested records and arrays of them included, in either byte order.
"""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kvmabi import arch
from kvmabi.abi.build import read_abi
from kvmabi.abi.dwarf import read_object
from kvmabi.abi.emit import needed_records
from kvmabi.abi.model import Array, Enum, Pointer, Record, Scalar, Type

pytestmark = pytest.mark.usefixtures("tool")

Path_ = tuple[str | int, ...]


def leaves(type_: Type, path: Path_, generator: random.Random) -> Iterator[tuple[Path_, int]]:
    """(path, value) of each number in a type; of a union, those of one member."""
    if isinstance(type_, Array):
        count = type_.count or 0
        for index in sorted({0, 1, count // 2, count - 1}) if count > 3 else range(count):
            yield from leaves(type_.element, (*path, index), generator)
    elif isinstance(type_, Record):
        fields = [f for f in type_.fields if f.size and (f.name or f.bit_width is None)]
        if type_.kind == "union" and fields:
            fields = [generator.choice(fields)]
        for field in fields:
            inner = (*path, field.name) if field.name else path
            if field.bit_width is not None:
                yield inner, number(field.bit_width, generator, signed=False)
            else:
                yield from leaves(field.type, inner, generator)
    elif isinstance(type_, Pointer):
        yield path, number(64, generator, signed=False)
    elif isinstance(type_, Enum) or (isinstance(type_, Scalar) and type_.size <= 8):
        yield path, number(type_.size * 8, generator, signed=type_.signed)


def number(bits: int, generator: random.Random, *, signed: bool) -> int:
    value = generator.getrandbits(bits) | 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def designator(path: Path_) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def holder(value, path: Path_):
    for step in path[:-1]:
        value = value[step] if isinstance(step, int) else getattr(value, step)
    return value


def write(value, path: Path_, number_: int) -> None:
    last = path[-1]
    owner = holder(value, path)
    if isinstance(last, int):
        owner[last] = number_
    else:
        setattr(owner, last, number_)


def read(value, path: Path_) -> int:
    last = path[-1]
    owner = holder(value, path)
    return owner[last] if isinstance(last, int) else getattr(owner, last)


def compiled(folder, architecture, tree, text):
    (folder / "bytes.c").write_text(text)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", architecture.zig_target, "-g"]
    command += [
        "-w",
        "-Wno-int-conversion",
        "-shared",
        "-nostdlib",
        "-nostdinc",
        "-fPIC",
        "-O0",
        "-std=gnu11",
    ]
    command += [part for one in tree.folders for part in ("-isystem", str(one.resolve()))]
    command += ["-o", "bytes.so", "bytes.c"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[:2000]
    return read_object(folder / "bytes.so")


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_every_struct_has_cs_bytes(tree_of, tmp_path, name):
    architecture = arch.ARCHITECTURES[name]
    module = importlib.import_module(f"kvmabi.uapi.{name}")
    tree = tree_of(architecture)
    generator = random.Random(f"bytes of {name}")  # noqa: S311
    records = [r for r in needed_records(read_abi(tree, architecture)) if r.tag and r.size]
    contents = {r.name: dict(leaves(r, (), generator)) for r in records}
    lines = ["#include <linux/kvm.h>\n"]
    for record in records:
        values = ", ".join(
            f"{designator(path)} = {value % (1 << 64)}ULL"
            for path, value in contents[record.name].items()
        )
        lines.append(f"{record.kind} {record.tag} v_{record.name} = {{ {values} }};\n")
    found = compiled(tmp_path, architecture, tree, "".join(lines))
    numbers = 0
    for record in records:
        theirs = bytes(found.integers(f"v_{record.name}", 1))
        ours = getattr(module, record.name)()
        for path, value in contents[record.name].items():
            write(ours, path, value)
        assert bytes(ours).hex() == theirs.hex(), record.name
        back = getattr(module, record.name).from_buffer_copy(theirs)
        for path, value in contents[record.name].items():
            assert read(back, path) == value, (record.name, path)
            numbers += 1
    assert len(records) >= 40
    assert numbers > 250


def test_a_field_of_the_wrong_byte_order_would_show(tmp_path, tree_of):
    architecture = arch.S390
    text = "#include <linux/kvm.h>\nstruct kvm_ioeventfd v = { .addr = 0x1122 };\n"
    found = compiled(tmp_path, architecture, tree_of(architecture), text)
    from kvmabi.uapi import s390, x86

    theirs = bytes(found.integers("v", 1))
    assert s390.kvm_ioeventfd.from_buffer_copy(theirs).addr == 0x1122
    assert x86.kvm_ioeventfd.from_buffer_copy(theirs).addr != 0x1122
