"""Layouts; every expected number is the System V ABI's, worked out by hand."""

from __future__ import annotations

import pytest

from kvmabi import arch
from kvmabi.abi.build import field_offset
from kvmabi.abi.model import Array
from kvmabi.header.integers import NotConstant


def places(record):
    return [(field.name, field.offset, field.size) for field in record.fields]


def bits(record):
    return [(field.name, field.bit_offset, field.bit_width) for field in record.fields]


def test_padding_comes_before_fields_and_at_the_end(abi_of):
    record = abi_of("struct s { char a; long b; short c; };").records["s"]
    assert places(record) == [("a", 0, 1), ("b", 8, 8), ("c", 16, 2)]
    assert (record.size, record.alignment) == (24, 8)


def test_a_union_is_as_large_as_its_largest_member(abi_of):
    record = abi_of("union u { char a[5]; int b; };").records["u"]
    assert places(record) == [("a", 0, 5), ("b", 0, 4)]
    assert (record.size, record.alignment) == (8, 4)


def test_packed(abi_of):
    record = abi_of("struct s { char a; long b; } __attribute__((packed));").records["s"]
    assert places(record) == [("a", 0, 1), ("b", 1, 8)]
    assert (record.size, record.alignment) == (9, 1)


def test_packed_and_aligned(abi_of):
    text = "struct s { char a; int b; } __attribute__((packed, aligned(4)));"
    record = abi_of(text).records["s"]
    assert places(record) == [("a", 0, 1), ("b", 1, 4)]
    assert (record.size, record.alignment) == (8, 4)


def test_a_packed_field_and_an_aligned_one(abi_of):
    text = (
        "struct s { char a; int b __attribute__((packed)); char c __attribute__((aligned(8))); };"
    )
    record = abi_of(text).records["s"]
    assert places(record) == [("a", 0, 1), ("b", 1, 4), ("c", 8, 1)]
    assert (record.size, record.alignment) == (16, 8)


def test_a_typedef_may_raise_and_lower_an_alignment(abi_of):
    text = """
    typedef int high __attribute__((aligned(16)));
    typedef long low __attribute__((aligned(4)));
    struct s { char a; high b; };
    struct t { char a; low b; };
    """
    records = abi_of(text).records
    assert places(records["s"]) == [("a", 0, 1), ("b", 16, 4)]
    assert records["s"].size == 32
    assert places(records["t"]) == [("a", 0, 1), ("b", 4, 8)]
    assert (records["t"].size, records["t"].alignment) == (12, 4)


def test_bit_fields_cross_no_boundary_of_their_type(abi_of):
    record = abi_of("struct s { int a:20; int b:20; char c; };").records["s"]
    assert bits(record)[:2] == [("a", 0, 20), ("b", 32, 20)]
    assert record.fields[2].offset == 7
    assert record.size == 8


def test_bit_fields_of_several_types_share_bytes(abi_of):
    record = abi_of("struct s { char a; int b:4; char c:4; short d:10; };").records["s"]
    assert bits(record)[1:] == [("b", 8, 4), ("c", 12, 4), ("d", 16, 10)]
    assert (record.size, record.alignment) == (4, 4)


def test_a_zero_width_starts_a_new_unit_and_is_no_field(abi_of):
    record = abi_of("struct s { char a:1; int :0; char b:1; };").records["s"]
    assert bits(record) == [("a", 0, 1), ("b", 32, 1)]
    assert (record.size, record.alignment) == (5, 1)


def test_an_unnamed_bit_field_takes_room_and_does_not_align(abi_of):
    record = abi_of("struct s { char a; int :3; char b:5; };").records["s"]
    assert bits(record)[1:] == [(None, 8, 3), ("b", 11, 5)]
    assert (record.size, record.alignment) == (2, 1)


def test_packed_bit_fields_follow_each_other(abi_of):
    text = "struct s { int a:20; int b:20; } __attribute__((packed));"
    record = abi_of(text).records["s"]
    assert bits(record) == [("a", 0, 20), ("b", 20, 20)]
    assert record.size == 5


@pytest.mark.parametrize("form", ["int x[]", "int x[0]"])
def test_flexible_arrays_have_no_size(abi_of, form):
    record = abi_of(f"struct s {{ char n; {form}; }};").records["s"]
    assert (record.size, record.fields[1].offset) == (4, 4)
    type_ = record.fields[1].type
    assert isinstance(type_, Array)
    assert type_.flexible


def test_an_empty_struct_has_no_size(abi_of):
    record = abi_of("struct s { struct { } e; int x[]; };").records["s"]
    assert (record.size, record.alignment) == (0, 4)


def test_names_of_records_without_tags(abi_of):
    text = """
    struct s {
        union { struct { int a; } one; struct { int b; }; };
        struct { struct { int c; } deep; } two[3];
        struct tagged { int d; } three;
    };
    typedef struct { int e; } named;
    """
    assert list(abi_of(text).records) == [
        "s__one", "s__anon1__anon1", "s__anon1", "s__two__deep", "s__two", "tagged", "s", "named",
    ]  # fmt: skip


def test_a_tag_alone_inside_of_a_record_is_no_member(abi_of):
    record = abi_of("struct s { int a; struct t { int b; }; int c; };").records["s"]
    assert places(record) == [("a", 0, 4), ("c", 4, 4)]


def test_pointers_enums_and_char_arrays(abi_of):
    text = "enum e { A }; enum neg { B = -1 }; enum big { C = 0x1ffffffffULL };"
    text += (
        "struct s { enum e a; enum neg b; enum big c; void (*d)(void); struct x *e; char f[3]; };"
    )
    record = abi_of(text).records["s"]
    assert [field.size for field in record.fields] == [4, 4, 8, 8, 8, 3]
    assert [field.type.signed for field in record.fields[:2]] == [False, True]


def test_architectures_differ_in_char_and_wide_alignment(abi_of):
    text = "struct s { char a; unsigned __int128 b; };"
    x86, s390 = abi_of(text).records["s"], abi_of(text, arch.S390).records["s"]
    assert (x86.fields[1].offset, s390.fields[1].offset) == (16, 8)
    assert (x86.fields[0].type.signed, s390.fields[0].type.signed) == (True, False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("struct s { struct missing a; };", "struct missing is not defined"),
        ("struct s { int a[UNKNOWN]; };", "UNKNOWN is not defined"),
        ("struct s { int a[-1]; };", "an array of -1 elements"),
        ("struct s { int a; } __attribute__((strange));", "strange is not known"),
        ("struct s { int a __attribute__((aligned)); };", "aligned without a number"),
        ("struct s { int a __attribute__((aligned(3))); };", "an alignment of 3"),
        ("struct s { int a:33; };", "a bit-field of 33 bits"),
        ("struct s { void *a:3; };", "a bit-field"),
        ("struct s { typeof(x) a; };", "typeof"),
    ],
)
def test_what_has_no_layout_is_opaque_with_its_reason(abi_of, text, reason):
    abi = abi_of(text + "struct t { struct s inner; };")
    assert "s" not in abi.records
    assert reason in abi.opaque["s"].reason
    assert reason in abi.opaque["t"].reason


def test_field_offset_looks_into_anonymous_members(abi_of):
    record = abi_of("struct s { int a; union { int b; struct { char c, d; }; }; };").records["s"]
    assert field_offset(record, "d")[0] == 5
    with pytest.raises(NotConstant, match="has no field e"):
        field_offset(record, "e")
