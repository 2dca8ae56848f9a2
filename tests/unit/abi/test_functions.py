"""Function-like macros: which become functions, of what type, and why others do not."""

from __future__ import annotations

import time

import pytest

from kvmabi import arch
from kvmabi.abi.emit import ModuleSource, emit_module
from kvmabi.uapi import _functions, arm64, riscv, x86


def load(abi):
    text = emit_module(ModuleSource(abi, abi, "1", "a test"))
    names: dict[str, object] = {"__name__": "generated"}
    exec(compile(text, "generated.py", "exec", dont_inherit=True), names)  # noqa: S102
    return names


def test_the_abis_own():
    # Documentation/virt/kvm/api.rst, "4.68 KVM_SET_ONE_REG".
    assert arm64.ARM64_SYS_REG(3, 3, 14, 3, 1) == 0x603000000013DF19
    assert arm64.KVM_REG_ARM_CORE_REG("regs.regs[5]") == 10
    assert riscv.KVM_REG_RISCV_CORE_REG("regs.ra") == 1
    assert x86.KVM_REG_SIZE(x86.KVM_REG_SIZE_U64) == 8
    assert x86.KVM_X86_REG_MSR(0x10) == 0x2030000200000010


def test_arguments_are_numbers_of_64_bits():
    for bad in (-1, 1 << 64):
        with pytest.raises(ValueError, match="is not in 0"):
            arm64.KVM_REG_ARM_FW_REG(bad)
    with pytest.raises(ValueError, match="a shift by 64 is undefined for 64 bits"):
        _functions.count(64, 64)


@pytest.mark.parametrize(
    "path", ["", "regs.", ".regs", "regs.nothing", "regs.ra[0]", "regs[1]", "regs ra", "mode."]
)
def test_paths_that_are_none(path):
    with pytest.raises(ValueError, match=r"path|field|index"):
        riscv.KVM_REG_RISCV_CORE_REG(path)


REFUSED = {
    "pastes": ("#define F(x) A ## x\n#define A1 1\n", "pasted into a name"),
    "makes a string": ("#define F(x) #x\n", "string"),
    "calls": ("#define F(x) g(x)\n", "a call of g"),
    "stands for its argument": ("#define F(x) x\n", "stands for its argument"),
    "is empty": ("#define F(x)\n", "stands for nothing"),
    "is a statement": ("#define F(x) do { } while (0)\n", "no expression"),
    "takes an address": ("#define F(x) (*(int *)(x))\n", "pointer|object|cast"),
    "loops": ("#define F(x) ({ while (x) ; 1; })\n", "statement expression"),
    "shifts too far": ("#define F(x) ((x) << 64)\n", "undefined"),
    "uses a name of nothing": ("#define F(x) ((x) + NOTHING)\n", "NOTHING is not defined"),
    "mixes fields and numbers": (
        "struct s { int a; };\n#define F(x) (__builtin_offsetof(struct s, x) + (x))\n",
        "both a number and a field",
    ),
    "sets what is no variable of its own": ("#define F(x) ({ y = (x); y; })\n", "assignment to y"),
    "grows": (
        "#define F(x) ({ unsigned long y = (x); " + "y += y; " * 60 + "y; })\n",
        "too long",
    ),
    "has no end": ("#define F(x) x" + "+1" * 3_000 + "\n", "too long"),
    "asks for a thousand": ("#define F(x) " + "((x) ? " * 40 + "1" + " : 0)" * 40 + "\n", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_function_says_why(abi_of, name):
    text, reason = REFUSED[name]
    start = time.perf_counter()
    abi = abi_of(text)
    assert time.perf_counter() - start < 20  # a hang, and no benchmark
    macro = abi.functions["F"]
    if not reason:
        assert macro.function or macro.reason
        return
    assert macro.function is None
    assert any(one in macro.reason for one in reason.split("|")), macro.reason
    assert load(abi)["OPAQUE"]["F"] == macro.reason


def test_values_have_cs_types(abi_of):
    text = """
    #define UNSIGNED(x) ((unsigned)(x) - 1)
    #define SIGNED(x) ((signed char)(x) >> 1)
    #define CHOSEN(x) ((x) ? -1 : 1u)
    #define OUTER(in, is) ((in) - (is))
    #define NONE() (40 + 2)
    """
    names = load(abi_of(text, arch.ARM64))
    assert names["UNSIGNED"](0) == 0xFFFFFFFF
    assert names["SIGNED"](0xFF) == -1
    assert (names["CHOSEN"](1), names["CHOSEN"](0)) == (0xFFFFFFFF, 1)
    assert names["OUTER"](1, 2) == (1 << 64) - 1
    assert names["NONE"]() == 42
    assert names["OUTER"].__annotations__ == {"in_": "int", "is_": "int", "return": "int"}
