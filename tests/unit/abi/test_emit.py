"""Generated modules: they run, and ctypes lays everything out as the model says."""

from __future__ import annotations

import ctypes

import pytest

from kvmabi import arch
from kvmabi.abi.emit import ModuleSource, emit_module
from kvmabi.abi.model import Record
from kvmabi.header import SourceFile


def load(abi, base=None):
    text = emit_module(ModuleSource(abi, base or abi, "1.2", "a test"))
    names: dict[str, object] = {"__name__": "generated"}
    exec(compile(text, "generated.py", "exec", dont_inherit=True), names)  # noqa: S102
    return names


def check_layouts(names, abi):
    """The number of fields whose place in ctypes was compared with the model's."""
    compared = 0
    for record in abi.records.values():
        class_ = names[record.name]
        assert ctypes.sizeof(class_) == record.size, record.name
        compared += check_fields(class_, record)
    return compared


def check_fields(class_, record, base=0):
    compared = 0
    for field in record.fields:
        if field.name is None:
            if isinstance(field.type, Record) and field.type.fields:
                inner = [
                    f for f in field.type.fields if f.size or f.name is None or f.type.size == 0
                ]
                for item in inner:
                    if item.name and hasattr(class_, item.name):
                        offset = getattr(class_, item.name).offset
                        assert offset == base + field.offset + item.offset, item.name
                        compared += 1
            continue
        descriptor = getattr(class_, field.name)
        if field.bit_width is None:
            assert descriptor.offset == base + field.offset, (record.name, field.name)
            assert descriptor.size == field.size, (record.name, field.name)
        else:
            check_bits(class_, record, field)
        compared += 1
    return compared


def check_bits(class_, record, field):
    """Set only this field, and see which bits of memory are set."""
    value = class_()
    unsigned = (1 << field.bit_width) - 1
    setattr(value, field.name, unsigned)
    big = "BigEndian" in class_.__mro__[1].__name__
    memory = bytes(value)
    if big:
        bits = "".join(f"{byte:08b}" for byte in memory)
    else:
        bits = "".join(f"{byte:08b}"[::-1] for byte in memory)
    start = field.bit_offset
    expected = "0" * start + "1" * field.bit_width
    assert bits == expected.ljust(len(bits), "0"), (record.name, field.name)


TEXT = """
struct plain { char a; unsigned long b; short c[3]; void *d; _Bool e; double f; signed char g; };
struct packed { char a; unsigned long b; int c; } __attribute__((packed));
struct aligned { char a; int b __attribute__((aligned(32))); char c; };
struct tail { int a; } __attribute__((aligned(16)));
struct holds { char a; struct packed b; struct tail c; struct plain d[2]; };
union both { struct packed a; long b; };
struct wide { char a; unsigned __int128 b; };
struct bits { unsigned char a:3, b:5; unsigned short c:9; unsigned int d; };
struct nested {
    int kind;
    union { struct { int a; long b; } one; struct { short c, d; }; char pad[32]; };
    struct { int e; union { int f; float g; }; } two[2];
};
struct flexible { int n; struct plain x[]; };
struct flexible_old { int n; char x[0]; };
struct wrapped { int n; struct { struct { } __empty_x; long x[]; }; };
union flexible_union {
    struct { struct { } __empty_x; long x[]; };
    struct { struct { } __empty_y; int y[]; };
};
struct empty { };
struct grid { int x[2][3]; };
enum { ONE = 1, MINUS = -1 };
#define HEX 0x40
#define BITS (1 << 4)
#define TEXT "text\\n\\"quoted\\""
#define NEGATIVE (-5)
#define EMPTY
#define NONE UNKNOWN
"""


@pytest.mark.parametrize("architecture", [arch.X86, arch.ARM64])
def test_layouts_are_the_models(abi_of, architecture):
    abi = abi_of(TEXT, architecture)
    names = load(abi)
    assert check_layouts(names, abi) > 50
    assert not abi.opaque.keys() - {"NONE"}


def test_flexible_arrays_are_reached_by_their_names(abi_of):
    names = load(abi_of(TEXT))
    wrapped = names["wrapped"]
    assert (wrapped.x.offset, wrapped.x.size) == (8, 0)
    assert names["flexible_union"].y.offset == 0


def test_anonymous_members_are_reached_through_the_record(abi_of):
    value = load(abi_of(TEXT))["nested"]()
    value.one.b = 7
    value.c = 3
    value.two[1].f = 9
    assert (value.one.b, value.c, value.two[1].f) == (7, 3, 9)


def test_constants(abi_of):
    names = load(abi_of(TEXT))
    assert (names["ONE"], names["MINUS"], names["HEX"], names["BITS"]) == (1, -1, 0x40, 16)
    assert (names["NEGATIVE"], names["TEXT"]) == (-5, 'text\n"quoted"')
    assert names["DEFINED"] == {"EMPTY"}
    assert names["OPAQUE"] == {"NONE": "UNKNOWN is not defined by these headers"}
    assert "NONE" not in names
    assert (names["ABI_VERSION"], names["ARCHITECTURE"]) == ("1.2", "x86")
    assert all(name in names for name in names["__all__"])


def test_big_endian_records_read_and_write_as_such(abi_of):
    text = "struct s { int a; struct { long b; short c[2]; } d; unsigned char e:3, f:5; };"
    abi = abi_of(text, arch.S390)
    names = load(abi)
    check_layouts(names, abi)
    value = names["s"].from_buffer_copy(
        b"\0\0\0\1" + b"\0" * 4 + b"\0" * 7 + b"\2" + b"\0\3\0\4" + b"\0" * 4 + b"\xa1" + b"\0" * 7
    )
    assert (value.a, value.d.b, list(value.d.c), value.e, value.f) == (1, 2, [3, 4], 5, 1)


def test_what_an_overlay_changes_is_noted(abi_of):
    base = abi_of("enum { n_max = 5 };\n#define MASK 0x1f\n#define KEPT 1\n")
    changed = abi_of("enum { n_max = 5, n_new = 5 };\n#define MASK 0x3f\n#define KEPT 1\n")
    names = load(changed, base)
    assert names["OVERLAY_ADDED"] == {"n_new"}
    assert names["OVERLAY_BASE"] == {"MASK": 0x1F}


def test_the_same_abi_gives_the_same_text(abi_of):
    texts = {emit_module(ModuleSource(a, a, "1", "x")) for a in (abi_of(TEXT), abi_of(TEXT))}
    assert len(texts) == 1


def test_names_of_other_headers_are_left_out(tmp_path, abi_of):
    (tmp_path / "linux").mkdir(exist_ok=True)
    (tmp_path / "linux" / "types.h").write_text(
        "#define OTHER 1\nstruct needed { int a; };\nstruct unneeded { int a; };\n"
    )
    abi = abi_of("#include <linux/types.h>\nstruct s { struct needed x; };\n")
    names = load(abi)
    assert "needed" in names
    assert "OTHER" not in names
    assert "unneeded" not in names


def test_an_overlay_file_is_part_of_the_abi(abi_of, tmp_path):
    from kvmabi.abi.build import read_abi
    from kvmabi.header import HeaderTree

    abi_of("#define A 1\n")
    overlay = SourceFile("overlays/own.h", "#define B (A + 1)\n")
    names = load(read_abi(HeaderTree.of(tmp_path), arch.X86, overlays=[overlay]))
    assert (names["A"], names["B"]) == (1, 2)
