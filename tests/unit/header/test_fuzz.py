"""Headers of any kind: what comes out is an ABI or a HeaderError with a place, and never a hang.

The number of examples is small here; KVMABI_FUZZ=20000 tries that many of each.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmabi import arch
from kvmabi.abi.build import read_abi
from kvmabi.abi.emit import ModuleSource, emit_module
from kvmabi.errors import AbiError, HeaderError
from kvmabi.header import HeaderTree

EXAMPLES = int(os.environ.get("KVMABI_FUZZ", "150"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES <= 150,
    suppress_health_check=list(HealthCheck),
)

WORDS = """
struct union enum typedef extern static inline const volatile unsigned signed int long short
char void float double _Bool __int128 __u8 __u32 __u64 sizeof _Alignof offsetof __attribute__
packed aligned __extension__ typeof _Static_assert _Alignas asm a b c d kvm_run FLAG x1 0 1 2 7
64 0x10 1ULL 1u 077 0b1 08 1.5 99999999999999999999 ' " 'a' "s" L"w" ( ) { } [ ] ; , : ? . ->
... + - * / % & | ^ ~ ! && || << >> < > <= >= == != = |= ++ -- # ## \\ @ $ ` __VA_ARGS__ __LINE__
__COUNTER__
""".split()  # noqa: SIM905 (a list of them would be two hundred lines)
DIRECTIVES = [
    "#define", "#define F(", "#define F(a,b)", "#define A", "#undef", "#if", "#ifdef", "#ifndef",
    "#elif", "#else", "#endif", "#include <linux/kvm.h>", "#include", '#include "x.h"', "#error",
    "#pragma once", "#pragma pack(1)", "#include_next <linux/kvm.h>", "#line 3", "#", "#bogus",
    "#define _IOW(t,n,x) 1", "#define KVM_R _IOW(0xAE, 1, struct a)", "#if defined(",
    "#define G(x) ({ int y = x; y += 1; y; })", "#define V(x, ...) F(x, __VA_ARGS__)",
]  # fmt: skip
SPACES = st.sampled_from([" ", "\n", "\t", "", "\\\n", "/**/", " //\n", "\r\n", "/*"])
PIECES = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(DIRECTIVES).map(lambda one: f"\n{one} "),
    st.sampled_from(
        ["struct a { int x:3; __u64 y[2]; } ;", "enum { A = 1, B };", "union b { int c[0]; };"]
    ),
    st.text(max_size=4),
)
SOUP = st.lists(st.tuples(PIECES, SPACES), max_size=60).map(
    lambda pairs: "".join(text + space for text, space in pairs)
)

SAMPLE = """
typedef unsigned long long __u64;
#define _IOC(a, b, c, d) ((a) << 30 | (b) << 8 | (c) | (d) << 16)
#define _IOW(t, n, x) _IOC(1, t, n, sizeof(x))
#define FLAG(n) (1ULL << (n))
#define BLOCK(x) ({ __u64 y = (x); y -= (y == 3); (y << 6 | 1); })
#define PLACE(f) (__builtin_offsetof(struct one, f) / sizeof(int))
struct one { int a:3, b; union { char c[4]; struct { short d; }; }; void (*f)(int); __u64 g[]; };
enum two { X = FLAG(3), Y, Z = sizeof(struct one) };
#define KVM_DO _IOW(0xAE, 0x10, struct one)
#if defined(FLAG) && X < 3
extern int g(struct one *p);
#endif
"""


def try_text(data: bytes) -> None:
    """Read, lay out and write what the bytes say; every refusal must be one of ours."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "linux"
        folder.mkdir()
        (folder / "kvm.h").write_bytes(data)
        try:
            abi = read_abi(HeaderTree.of(Path(name)), arch.S390)
            text = emit_module(ModuleSource(abi, abi, "1", "a test"))
        except HeaderError as error:
            assert error.file, error  # noqa: PT017 (most texts are refused, and some are not)
            assert len(str(error)) < 3_000, error  # noqa: PT017
            return
        except AbiError:
            return
        compile(text, "generated.py", "exec", dont_inherit=True)
        assert all(macro.reason or macro.function for macro in abi.functions.values())
        for item in abi.opaque.values():
            assert item.reason


@FUZZ
@given(SOUP)
def test_a_soup_of_tokens(text):
    try_text(text.encode("utf-8", "surrogatepass"))


@FUZZ
@given(st.binary(max_size=300))
def test_binary_junk(data):
    try_text(data)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE)), st.integers(0, 12), SOUP), max_size=4))
def test_a_header_that_was_damaged(changes):
    text = SAMPLE
    for start, length, new in changes:
        text = text[:start] + new[:40] + text[start + length :]
    try_text(text.encode("utf-8", "surrogatepass"))


@FUZZ
@given(st.integers(0, len(SAMPLE)))
def test_a_header_that_was_cut_short(length):
    try_text(SAMPLE[:length].encode())


# Found by the fuzzers, each as small as it could be made.
FOUND = {
    "a name longer than a line": "#define KVM_" + "S" * 120 + " 1\n",
    "a dollar in a name": "#define KVM_A$B 1\nenum { KVM$C };\n",
    "a name that Python uses": "#define None 1\n#define Final 2\nenum { lambda, c_uint8 };\n",
    "a record with a name of Python's": "struct class { int a; };\n",
    "parameters with names of Python's": "#define F(in, _check) ((in) << 1 | (_check))\n",
    "typeof without what it opens": "struct\ntypeof a) b;\n",
    "an assertion without one": "_Static_assert ) ;\nstruct s { _Static_assert ] };\n",
    "a parameter called like a record": "struct s { int a; };\n"
    "#define P(s) __builtin_offsetof(struct s, s)\n",
}


@pytest.mark.parametrize("name", FOUND)
def test_what_fuzzing_found(name):
    try_text(FOUND[name].encode())


def test_names_that_python_cannot_have_are_opaque(tmp_path):
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "kvm.h").write_text(FOUND["a name that Python uses"])
    abi = read_abi(HeaderTree.of(tmp_path), arch.X86)
    names: dict[str, object] = {"__name__": "generated"}
    exec(emit_module(ModuleSource(abi, abi, "1", "a test")), names)  # noqa: S102
    assert set(names["OPAQUE"]) == {"None", "Final", "lambda", "c_uint8"}


def test_the_sample_itself_is_whole(tmp_path):
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "kvm.h").write_text(SAMPLE)
    abi = read_abi(HeaderTree.of(tmp_path), arch.X86)
    assert not abi.opaque
    assert {"KVM_DO"} == set(abi.ioctls)
    assert all(abi.functions[name].function for name in ("FLAG", "BLOCK", "PLACE"))
