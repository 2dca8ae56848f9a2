"""Each class of change, from tiny headers; beside each, a change that must not look like it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmabi.abi.diff import Change, Severity, diff_architecture, diff_facts
from kvmabi.abi.facts import Facts, facts_of
from kvmabi.abi.model import Abi

OK, LOOK, BREAKS = Severity.COMPATIBLE, Severity.ATTENTION, Severity.BREAKING
Seen = set[tuple[Severity, str, str, str]]
HEAD = "#include <linux/ioctl.h>\n"


@pytest.fixture
def diff(abi_of: Callable[..., Abi]) -> Callable[[str, str], Seen]:
    def run(old: str, new: str) -> Seen:
        before, after = facts_of(abi_of(HEAD + old)), facts_of(abi_of(HEAD + new))
        changes = diff_architecture(before, after)
        assert all(change.why for change in changes)
        return {(c.severity, c.kind, c.name, c.what) for c in changes}

    return run


STEMS = """
#define KVM_X_RANGE_A 2
#define KVM_X_A 1
#define KVM_X_VALID_MASK 1
#define KVM_X_RANGE_VALID_MASK 2
"""

CONSTANTS = [
    ("capability added", "", "#define KVM_CAP_A 1", {(OK, "capability", "KVM_CAP_A", "added")}),
    ("capability removed", "#define KVM_CAP_A 1", "",
     {(BREAKS, "capability", "KVM_CAP_A", "removed")}),
    ("capability moved", "#define KVM_CAP_A 1", "#define KVM_CAP_A 2",
     {(BREAKS, "capability", "KVM_CAP_A", "changed")}),
    ("renamed", "#define KVM_CAP_NEW_THING 7", "#define KVM_CAP_NEWER_THING 7",
     {(LOOK, "capability", "KVM_CAP_NEW_THING", "renamed")}),
    ("another value is no rename", "#define KVM_CAP_NEW_THING 7", "#define KVM_CAP_NEWER_THING 8",
     {(BREAKS, "capability", "KVM_CAP_NEW_THING", "removed"),
      (OK, "capability", "KVM_CAP_NEWER_THING", "added")}),
    ("an unlike name is no rename", "#define KVM_A_THING 7", "#define KVM_XYZZY_QUUX 7",
     {(BREAKS, "macro", "KVM_A_THING", "removed"), (OK, "macro", "KVM_XYZZY_QUUX", "added")}),
    ("two names, one capability", "#define KVM_CAP_A 1", "#define KVM_CAP_A 1\n#define KVM_CAP_B 1",
     {(OK, "capability", "KVM_CAP_B", "added"), (BREAKS, "capability", "KVM_CAP_B", "same value")}),
    ("two new names, one number", "", "#define KVM_EXIT_A 1\n#define KVM_EXIT_B 1",
     {(OK, "macro", "KVM_EXIT_A", "added"), (OK, "macro", "KVM_EXIT_B", "added"),
      (LOOK, "macro", "KVM_EXIT_B", "same value")}),
    ("an alias is meant", "#define KVM_CAP_A 1", "#define KVM_CAP_A 1\n#define KVM_CAP_B KVM_CAP_A",
     {(OK, "capability", "KVM_CAP_B", "added")}),
    ("a value of an exit is no exit", "#define KVM_EXIT_IO 2\n#define KVM_EXIT_NONE 1",
     "#define KVM_EXIT_IO 2\n#define KVM_EXIT_NONE 1\n#define KVM_EXIT_IO_OUT 1",
     {(OK, "macro", "KVM_EXIT_IO_OUT", "added")}),
    ("other numbers may be alike", "#define KVM_A 1", "#define KVM_A 1\n#define KVM_B 1",
     {(OK, "macro", "KVM_B", "added")}),
    ("flag outside its mask", "#define KVM_X_FLAG_A 1\n#define KVM_X_VALID_FLAG_MASK 1",
     "#define KVM_X_FLAG_A 1\n#define KVM_X_FLAG_B 2\n#define KVM_X_VALID_FLAG_MASK 1",
     {(OK, "macro", "KVM_X_FLAG_B", "added"), (LOOK, "macro", "KVM_X_FLAG_B", "outside the mask")}),
    ("flag and mask together", "#define KVM_X_FLAG_A 1\n#define KVM_X_VALID_FLAG_MASK 1",
     "#define KVM_X_FLAG_A 1\n#define KVM_X_FLAG_B 2\n#define KVM_X_VALID_FLAG_MASK 3",
     {(OK, "macro", "KVM_X_FLAG_B", "added"), (OK, "macro", "KVM_X_VALID_FLAG_MASK", "changed")}),
    ("a flag that was outside before", "#define KVM_X_FLAG_B 2\n#define KVM_X_VALID_FLAG_MASK 1",
     "#define KVM_X_FLAG_B 2\n#define KVM_X_VALID_FLAG_MASK 1", set()),
    ("flags of a longer stem", "", STEMS,
     {(OK, "macro", name, "added") for name in
      ("KVM_X_RANGE_A", "KVM_X_A", "KVM_X_VALID_MASK", "KVM_X_RANGE_VALID_MASK")}),
    ("mask shrank", "#define KVM_X_VALID_FLAG_MASK 3", "#define KVM_X_VALID_FLAG_MASK 1",
     {(BREAKS, "macro", "KVM_X_VALID_FLAG_MASK", "changed")}),
    ("count grew", "enum { KVM_A_MAX = 3 };", "enum { KVM_A_MAX = 4 };",
     {(OK, "enumerator", "KVM_A_MAX", "changed")}),
    ("count shrank", "enum { KVM_A_MAX = 3 };", "enum { KVM_A_MAX = 2 };",
     {(LOOK, "enumerator", "KVM_A_MAX", "changed")}),
    ("enumerator moved", "enum { KVM_A, KVM_B };", "enum { KVM_B, KVM_A };",
     {(BREAKS, "enumerator", "KVM_A", "changed"), (BREAKS, "enumerator", "KVM_B", "changed")}),
    ("enumerator added", "enum { KVM_A };", "enum { KVM_A, KVM_B };",
     {(OK, "enumerator", "KVM_B", "added")}),
    ("macro to enumerator", "#define KVM_A 1", "enum { KVM_A = 1 };",
     {(LOOK, "enumerator", "KVM_A", "respelled")}),
    ("enumerator to macro", "enum { KVM_A = 1 };", "#define KVM_A 1",
     {(OK, "macro", "KVM_A", "respelled")}),
    ("a macro beside its enumerator", "enum { KVM_A = 1 };",
     "enum { KVM_A = 1 };\n#define KVM_A KVM_A", set()),
    ("defined no more", "#define __KVM_HAVE_A", "", {(LOOK, "macro", "__KVM_HAVE_A", "removed")}),
    ("an include guard is nobody's business", "#define _ASM_X86_KVM_H", "", set()),
    ("written another way", "#define KVM_A 0x10", "#define KVM_A (1 << 4)", set()),
    ("function added", "", "#define KVM_F(x) (x)", {(OK, "function", "KVM_F", "added")}),
    ("function removed", "#define KVM_F(x) (x)", "", {(BREAKS, "function", "KVM_F", "removed")}),
    ("function's text", "#define KVM_F(x) (x)", "#define KVM_F(x) (x + 1)",
     {(LOOK, "function", "KVM_F", "changed")}),
    ("function's spaces", "#define KVM_F(x) (x+1)", "#define KVM_F(x) ( x + 1 )", set()),
    ("function's parameters", "#define KVM_F(x) 1", "#define KVM_F(x, y) 1",
     {(BREAKS, "function", "KVM_F", "changed")}),
]  # fmt: skip


def arg(fields: str, *, ioctl: bool = True) -> str:
    tail = "#define KVM_GO _IOW(0xae, 1, struct kvm_a)\n" if ioctl else ""
    return f"struct kvm_a {{ {fields} }};\n{tail}"


RECORDS = [
    ("struct added", "", "struct kvm_a { int x; };", {(OK, "struct", "kvm_a", "added")}),
    ("struct removed", "struct kvm_a { int x; };", "", {(BREAKS, "struct", "kvm_a", "removed")}),
    ("struct renamed", "struct kvm_a { int x; };", "struct kvm_b { int x; };",
     {(LOOK, "struct", "kvm_a", "renamed")}),
    ("another struct", "struct kvm_a { int x; };", "struct kvm_b { int y; };",
     {(BREAKS, "struct", "kvm_a", "removed"), (OK, "struct", "kvm_b", "added")}),
    ("ioctl argument grew", arg("int x;"), arg("int x; int y;"),
     {(BREAKS, "struct", "kvm_a", "resized"), (BREAKS, "ioctl", "KVM_GO", "changed"),
      (OK, "field", "kvm_a.y", "added")}),
    ("other struct grew", arg("int x;", ioctl=False), arg("int x; int y;", ioctl=False),
     {(LOOK, "struct", "kvm_a", "resized"), (OK, "field", "kvm_a.y", "added")}),
    ("struct shrank", arg("int x; int y;", ioctl=False), arg("int x;", ioctl=False),
     {(BREAKS, "struct", "kvm_a", "resized"), (BREAKS, "field", "kvm_a.y", "removed")}),
    ("padding used", arg("int x; int pad[3];"), arg("int x; int y; int pad[2];"),
     {(LOOK, "field", "kvm_a.y", "pad's bytes put to use")}),
    ("reserved used up", arg("int x; int reserved;"), arg("int x; int y;"),
     {(LOOK, "field", "kvm_a.y", "reserved's bytes put to use")}),
    ("a hole used", arg("char x; int z;"), arg("char x; char y; int z;"),
     {(LOOK, "field", "kvm_a.y", "a hole put to use")}),
    ("a hole named", arg("char x; int z;"), arg("char x; char pad[3]; int z;"), set()),
    ("padding inside a member", arg("union { struct { int v; int pad; } in; long w; };"),
     arg("union { struct { int v; int u; } in; long w; };"),
     {(LOOK, "field", "kvm_a.in.u", "in.pad's bytes put to use")}),
    ("a member of a union", arg("union { long w; char padding[64]; };"),
     arg("union { long w; int v; char padding[64]; };"),
     {(OK, "field", "kvm_a.v", "added")}),
    ("bits used", arg("unsigned x : 3; unsigned reserved : 29;"),
     arg("unsigned x : 3; unsigned y : 1; unsigned reserved : 28;"),
     {(LOOK, "field", "kvm_a.y", "reserved's bytes put to use")}),
    ("field renamed", arg("int x; int y;"), arg("int x; int why;"),
     {(LOOK, "field", "kvm_a.y", "renamed")}),
    ("field replaced", arg("int x; int y;"), arg("int x; short why; short pad;"),
     {(BREAKS, "field", "kvm_a.y", "removed"), (LOOK, "field", "kvm_a.why", "added")}),
    ("fields moved together", arg("char x; char p0[7]; int y; int z;", ioctl=False),
     arg("char x; int y; int z; int more;", ioctl=False),
     {(BREAKS, "field", "kvm_a.p0", "removed"), (BREAKS, "field", "kvm_a.y", "moved"),
      (OK, "field", "kvm_a.more", "added")} ),
    ("fields swapped", arg("int x; int y;"), arg("int y; int x;"),
     {(BREAKS, "field", "kvm_a.x", "moved"), (BREAKS, "field", "kvm_a.y", "moved")}),
    ("field resized", arg("short x; short pad; int y;"), arg("int x; int y;"),
     {(BREAKS, "field", "kvm_a.x", "resized")}),
    ("sign changed", arg("int x;"), arg("unsigned x;"),
     {(LOOK, "field", "kvm_a.x", "another type")}),
    ("an array's way of being flexible", arg("int n; int e[0];"), arg("int n; int e[];"), set()),
    ("a flexible array added", arg("int n;"), arg("int n; int e[];"),
     {(OK, "field", "kvm_a.e", "added")}),
    ("fields moved into an anonymous union", arg("int x; int y;"),
     arg("int x; union { int y; unsigned z; };"), {(OK, "field", "kvm_a.z", "added")}),
    ("a holder that keeps its size",
     "struct kvm_i { int x; };\nstruct kvm_a { union { struct kvm_i i; char pad[64]; }; };",
     "struct kvm_i { int x; int y; };\nstruct kvm_a { union { struct kvm_i i; char pad[64]; }; };",
     {(LOOK, "struct", "kvm_i", "resized"), (OK, "field", "kvm_i.y", "added"),
      (LOOK, "field", "kvm_a.i", "resized")}),
    ("a holder that does not",
     "struct kvm_i { int x; };\nstruct kvm_a { struct kvm_i i; int z; };",
     "struct kvm_i { int x; int y; };\nstruct kvm_a { struct kvm_i i; int z; };",
     {(BREAKS, "struct", "kvm_i", "resized"), (OK, "field", "kvm_i.y", "added"),
      (LOOK, "field", "kvm_a.i", "resized"), (LOOK, "struct", "kvm_a", "resized"),
      (BREAKS, "field", "kvm_a.z", "moved")}),
]  # fmt: skip

GO = "#define KVM_GO _IOW(0xae, 1, int)\n"
IOCTLS = [
    ("ioctl added", "", GO, {(OK, "ioctl", "KVM_GO", "added")}),
    ("ioctl removed", GO, "", {(BREAKS, "ioctl", "KVM_GO", "removed")}),
    ("ioctl's direction", GO, GO.replace("_IOW", "_IOWR"),
     {(BREAKS, "ioctl", "KVM_GO", "changed")}),
    ("ioctl renamed", "#define KVM_GO_ON _IO(0xae, 1)", "#define KVM_GO_ONE _IO(0xae, 1)",
     {(LOOK, "ioctl", "KVM_GO_ON", "renamed")}),
    ("ioctl's argument", GO, GO.replace("int)", "unsigned)"),
     {(LOOK, "ioctl", "KVM_GO", "another argument")}),
    ("two ioctls, one number", GO, GO + "#define KVM_B _IOW(0xae, 1, unsigned)\n",
     {(OK, "ioctl", "KVM_B", "added"), (BREAKS, "ioctl", "KVM_B", "same value")}),
    ("one nr, two sizes", GO, GO + "#define KVM_B _IOW(0xae, 1, long)\n",
     {(OK, "ioctl", "KVM_B", "added")}),
    ("no value any more", GO, GO.replace("int)", "struct nowhere)"),
     {(LOOK, "ioctl", "KVM_GO", "no value any more")}),
    ("a value at last", GO.replace("int)", "struct nowhere)"), GO,
     {(OK, "ioctl", "KVM_GO", "has a value now")}),
]  # fmt: skip

CASES = CONSTANTS + RECORDS + IOCTLS


@pytest.mark.parametrize(
    ("old", "new", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_change(diff: Callable[[str, str], Seen], old: str, new: str, expected: Seen) -> None:
    assert diff(old, new) == expected


@pytest.mark.parametrize("text", [case[2] for case in CASES], ids=[case[0] for case in CASES])
def test_the_same_header_twice_has_no_change(diff: Callable[[str, str], Seen], text: str) -> None:
    assert diff(text, text) == set()


def test_fields_that_move_by_the_same_are_one_change(abi_of: Callable[..., Abi]) -> None:
    old = facts_of(abi_of("struct kvm_a { int x; int y; int z; };"))
    new = facts_of(abi_of("struct kvm_a { int w; int x; int y; int z; };"))
    moved = [c for c in diff_architecture(old, new) if c.what == "moved"]
    assert [(c.name, c.detail) for c in moved] == [("kvm_a.x", "at 0 -> at 4, and 2 more by +4")]


@pytest.fixture
def one(abi_of: Callable[..., Abi]) -> Facts:
    return facts_of(abi_of("#define KVM_CAP_A 1\n#define KVM_CAP_B 2\n"))


@pytest.fixture
def two(abi_of: Callable[..., Abi]) -> Facts:
    return facts_of(abi_of("#define KVM_CAP_A 1\n"))


def only(changes: list[Change]) -> Change:
    assert len(changes) == 1
    return changes[0]


def test_what_changes_everywhere_is_said_once(one: Facts, two: Facts) -> None:
    change = only(diff_facts({"x86": one, "mips": one}, {"x86": two, "mips": two}))
    assert (change.severity, change.architectures) == (BREAKS, ("x86", "mips"))


def test_a_name_that_another_architecture_keeps_is_no_break(one: Facts, two: Facts) -> None:
    change = only(diff_facts({"x86": one, "s390": one}, {"x86": two, "s390": one}))
    assert (change.severity, change.detail) == (LOOK, "only s390 now")


def test_a_name_that_another_architecture_only_gets_now_is_a_break(one: Facts, two: Facts) -> None:
    changes = diff_facts({"x86": one, "s390": two}, {"x86": two, "s390": one})
    assert {c.severity for c in changes if c.what == "removed"} == {BREAKS}


def test_architectures_that_come_and_go(one: Facts) -> None:
    assert only(diff_facts({"x86": one}, {"x86": one, "mips": one})).severity is OK
    assert only(diff_facts({"x86": one, "mips": one}, {"x86": one})).severity is BREAKS
