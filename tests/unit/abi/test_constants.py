"""Enumerators, macros and ioctls: values, C types, and why something has none."""

from __future__ import annotations

import pytest

from kvmabi import arch
from kvmabi.errors import AbiError


@pytest.mark.parametrize(
    ("body", "value", "c_type"),
    [
        ("5", 5, "int"),
        ("-1", -1, "int"),
        ("(-1ul)", 2**64 - 1, "unsigned long"),
        ("(1 << 31)", -(2**31), "int"),
        ("(1U << 31)", 2**31, "unsigned int"),
        ("(1ULL << 63)", 2**63, "unsigned long long"),
        ("~0U", 2**32 - 1, "unsigned int"),
        ("(__u64)-1", 2**64 - 1, "unsigned long long"),
        ("((__u32)(-1))", 2**32 - 1, "unsigned int"),
        ("(char)200", -56, "char"),
        ("(_Bool)7", 1, "_Bool"),
        ("-1 < 0u", 0, "int"),
        ("-1 > 0u", 1, "int"),
        ("-1 < 0ul", 0, "int"),
        ("-1L < 0u", 1, "int"),
        ("2147483647 + 1u", 2**31, "unsigned int"),
        ("0xffffffff + 1", 0, "unsigned int"),
        ("0xffffffffL + 1", 2**32, "long"),
        ("-7 / 2", -3, "int"),
        ("-7 % 3", -1, "int"),
        ("7 / -2", -3, "int"),
        ("-8 >> 1", -4, "int"),
        ("1 ? 2 : 3ul", 2, "unsigned long"),
        ("0 ? 1 / 0 : 4", 4, "int"),
        ("1 || 1 / 0", 1, "int"),
        ("!5", 0, "int"),
        ("'A' | 0x100", 0x141, "int"),
        ("sizeof(struct s)", 24, "unsigned long"),
        ("sizeof(int[3]) / sizeof(int)", 3, "unsigned long"),
        ("sizeof(char *)", 8, "unsigned long"),
        ("sizeof 1ul", 8, "unsigned long"),
        ("_Alignof(struct s)", 8, "unsigned long"),
        ("offsetof(struct s, b)", 8, "unsigned long"),
        ("__builtin_offsetof(struct s, c[2].e)", 23, "unsigned long"),
        ("ENUM_B + 1", 8, "int"),
        ("UP(3)", 8, "unsigned long"),
        ("2 + 3 * 4 - 6 / 3", 12, "int"),
        ("1 | 2 ^ 3 & 4 << 1", 3, "int"),
        ("+5", 5, "int"),
        ("(enum e)ENUM_B", 7, "unsigned int"),
    ],
)
def test_values_and_types(abi_of, body, value, c_type):
    text = f"""
    typedef unsigned int __u32;
    typedef unsigned long long __u64;
    struct s {{ int a; long b; struct {{ char d, e, f; }} c[2]; }};
    enum e {{ ENUM_A, ENUM_B = 7 }};
    #define UP(n) (1UL << (n))
    #define X {body}
    """
    macro = abi_of(text).macros["X"]
    assert (macro.kind, macro.value, macro.c_type) == ("int", value, c_type), macro.reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("((PAGE_SIZE - 8) / 4)", "PAGE_SIZE is not defined"),
        ("sizeof(struct missing)", "struct missing is not defined"),
        ("(1 / 0)", "division by zero"),
        ("(1 << 32)", "a shift by 32 is undefined for int"),
        ("(1 << -1)", "a shift by -1"),
        ("1.5", "1.5 is not an integer"),
        ("({ 1; })", "a statement expression"),
        ("f(1)", "f() is not defined"),
        ("(void *)0", "a cast to void * is no integer"),
        ("(double)1", "a cast to double is no integer"),
        ("__attribute__((x))", "__attribute__() is not defined"),
        ("unsigned long", "no expression"),
        ("x = 1", "no expression"),
        ("{ 1, 2 }", "no expression"),
        ("&x", "the operator &"),
        ("a.b", "the field b of an object"),
        ("18446744073709551616", "too large"),
        ("(1, 2)", "the comma operator"),
        ("offsetof(struct s, z)", "has no field z"),
        ("L'a'", "a wide character"),
        ("sizeof(struct flexible[])", "is not defined"),
        ("BAD(1)", "takes 2 arguments"),
    ],
)
def test_what_has_no_value_is_opaque_with_its_reason(abi_of, body, reason):
    abi = abi_of(f"struct s {{ int a; }};\n#define BAD(a, b) a\n#define X {body}\n")
    assert abi.macros["X"].kind == "opaque"
    assert reason in abi.macros["X"].reason
    assert abi.opaque["X"].reason == abi.macros["X"].reason


def test_other_kinds_of_macros(abi_of):
    abi = abi_of(
        '#define EMPTY\n#define TEXT "a\\t" "b"\n#define ALIAS FIVE\n#define FIVE 5\n'
        "#define F(a, b...) a ## b\n"
    )
    assert abi.macros["EMPTY"].kind == "empty"
    assert (abi.macros["TEXT"].kind, abi.macros["TEXT"].value) == ("string", "a\tb")
    assert (abi.macros["ALIAS"].value, abi.macros["ALIAS"].alias_of) == (5, "FIVE")
    assert abi.macros["FIVE"].alias_of is None
    function = abi.functions["F"]
    assert (function.parameters, function.variadic, function.body) == (("a", "b"), True, "a ## b")


def test_enumerators(abi_of):
    abi = abi_of("enum e { A, B, C = 10, D, E = -1, F, G = 0xffffffff, H = C | 1 };")
    values = {name: item.value for name, item in abi.enumerators.items()}
    assert values == {"A": 0, "B": 1, "C": 10, "D": 11, "E": -1, "F": 0, "G": 2**32 - 1, "H": 11}
    assert abi.enumerators["A"].enum == "e"


def test_an_enumerator_without_value_makes_those_behind_it_opaque(abi_of):
    abi = abi_of("enum { A, B = UNKNOWN, C, D = 4, E = C };\n#define F C\n")
    assert set(abi.enumerators) == {"A", "D"}
    assert "UNKNOWN is not defined" in abi.opaque["B"].reason
    assert "it follows one that has no value" in abi.opaque["C"].reason
    assert "C: it follows" in abi.opaque["E"].reason
    assert abi.macros["F"].kind == "opaque"


IOCTLS = """
#include <linux/ioctl.h>
typedef unsigned long long __u64;
struct s { char x[24]; };
#define KVMIO 0xAE
#define A _IO(KVMIO, 0x00)
#define B _IOR(KVMIO, 0x81, struct s)
#define C _IOW(KVMIO, 0x82, __u64)
#define D _IOWR(KVMIO, 1 + 2, struct s)
#define E D
#define F _IOW(KVMIO, 4, struct missing)
#define G _IOW(0x1ae, 4, int)
#define H (A | 1)
"""


@pytest.mark.parametrize(
    ("architecture", "numbers"),
    [
        (arch.X86, {"A": 0xAE00, "B": 0x8018AE81, "C": 0x4008AE82, "D": 0xC018AE03}),
        (arch.MIPS, {"A": 0x2000AE00, "B": 0x4018AE81, "C": 0x8008AE82, "D": 0xC018AE03}),
        (arch.POWERPC, {"A": 0x2000AE00, "B": 0x4018AE81, "C": 0x8008AE82, "D": 0xC018AE03}),
    ],
)
def test_ioctls_by_architecture(abi_of, architecture, numbers):
    abi = abi_of(IOCTLS, architecture)
    assert {name: abi.ioctls[name].number for name in numbers} == numbers
    assert abi.ioctls["E"].number == numbers["D"]
    assert abi.macros["H"].value == numbers["A"] | 1
    read = abi.ioctls["B"]
    assert (read.direction, read.type, read.nr, read.size, read.argument) == (
        "R", 0xAE, 0x81, 24, "struct s",
    )  # fmt: skip
    assert architecture.ioctl.parts(numbers["B"])[1:] == (0xAE, 0x81, 24)


def test_ioctls_that_cannot_be_made_are_opaque(abi_of):
    opaque = abi_of(IOCTLS).opaque
    assert (opaque["F"].kind, opaque["F"].reason) == ("ioctl", "struct missing is not defined")
    assert "ioctl type 0x1ae" in opaque["G"].reason


def test_ioctl_macros_that_headers_do_not_define_mean_nothing(abi_of):
    abi = abi_of("#define A _IO(0xAE, 1)\n")
    assert abi.opaque["A"].reason == "_IO() is not defined by these headers"


def test_headers_of_another_architecture_are_refused(abi_of):
    with pytest.raises(AbiError, match="_IOC_SIZEBITS is 13 in these headers and 14 on x86"):
        abi_of("#define _IOC_SIZEBITS 13\n")
