"""Constant expressions and layouts made at random: ours equal clang's."""

from __future__ import annotations

import random
import re

import pytest

from kvmabi import arch
from kvmabi.abi.build import read_abi
from kvmabi.abi.proof import Proof
from kvmabi.header import HeaderTree

pytestmark = pytest.mark.usefixtures("tool")  # which skips without a compiler

LITERALS = [
    *("0", "1", "2u", "3l", "5ul", "7ll", "31", "100u", "1ull", "-1", "2147483648"),
    *("0x7fffffff", "0x80000000", "0xffffffffffffffff", "'a'", "'\\xff'", "sizeof(int)"),
    *("(char)200", "(unsigned char)300", "(short)70000", "(_Bool)9"),
]
BINARY = [
    "+",
    "-",
    "*",
    "&",
    "|",
    "^",
    "<",
    ">",
    "<=",
    ">=",
    "==",
    "!=",
    "&&",
    "||",
    "/",
    "%",
    "<<",
    ">>",
]
CASTS = ["char", "unsigned char", "short", "int", "unsigned", "long", "unsigned long", "long long"]


def expression(generator, depth=0):
    choice = generator.randrange(8)
    if depth > 3 or choice == 0:
        return f"({generator.choice(LITERALS)})"
    if choice == 1:
        return f"({generator.choice('+-~!')} {expression(generator, depth + 1)})"
    if choice == 2:
        return f"(({generator.choice(CASTS)}){expression(generator, depth + 1)})"
    if choice == 3:
        parts = [expression(generator, depth + 1) for _ in range(3)]
        return f"({parts[0]} ? {parts[1]} : {parts[2]})"
    operator = generator.choice(BINARY)
    left, right = expression(generator, depth + 1), expression(generator, depth + 1)
    if operator in ("<<", ">>"):
        # clang takes no shift of a negative number to the left for a constant.
        left, right = f"((unsigned long){left})", f"({right} & 31)"
    if operator in ("/", "%"):
        left, right = f"((unsigned){left})", f"((unsigned){right} | 1u)"
    if operator in ("+", "-", "*"):
        left = f"((unsigned{generator.choice(['', ' long'])}){left})"
    return f"({left} {operator} {right})"


def prove(tmp_path, text, architecture):
    (tmp_path / "linux").mkdir(exist_ok=True)
    (tmp_path / "linux" / "kvm.h").write_text(text)
    tree = HeaderTree.of(tmp_path)
    abi = read_abi(tree, architecture)
    return abi, Proof(abi, tree).run()


@pytest.mark.parametrize("seed", range(6))
def test_random_expressions(tmp_path, seed):
    generator = random.Random(seed)  # noqa: S311
    bodies = [expression(generator) for _ in range(400)]
    text = "".join(f"#define X{i} {body}\n" for i, body in enumerate(bodies))
    abi, result = prove(tmp_path, text, arch.X86 if seed % 2 else arch.ARM64)
    assert [f"{d} = {bodies[int(d.subject[1:])]}" for d in result.differences] == []
    opaque = {name: item.reason for name, item in abi.opaque.items()}
    assert len(opaque) < 40, opaque
    assert result.counts["macro types"] > 350


TYPES = ["char", "short", "int", "long", "unsigned char", "unsigned short", "unsigned", "float",
         "unsigned long", "long long", "void *", "double", "_Bool", "enum e",
         "struct inner"]  # fmt: skip
BIT_TYPES = {"char": 8, "unsigned char": 8, "short": 16, "int": 32, "unsigned": 32, "long": 64,
             "unsigned long": 64}  # fmt: skip


def members(generator, depth, counter):
    lines = []
    for _ in range(generator.randint(1, 6)):
        counter[0] += 1
        name = f"m{counter[0]}"
        choice = generator.randrange(10)
        if choice < 4:
            type_ = generator.choice(TYPES)
            attribute = generator.choice(["", "", "", " __attribute__((aligned(8)))",
                                          " __attribute__((packed))"])  # fmt: skip
            lines.append(f"{type_} {name}{attribute};")
        elif choice < 7:
            type_ = generator.choice(list(BIT_TYPES))
            width = generator.randint(1, BIT_TYPES[type_])
            shown = generator.choice([name, name, name, ""])
            lines.append(
                f"{type_} {shown}:{generator.choice([width, width, width]) if shown else 0};"
            )
        elif choice < 8:
            lines.append(f"{generator.choice(TYPES)} {name}[{generator.randint(0, 5)}][2];")
        elif depth < 3:
            inner = members(generator, depth + 1, counter)
            kind = generator.choice(["struct", "union"])
            packed = generator.choice(["", "", " __attribute__((packed))"])
            lines.append(f"{kind} {{ {inner} }}{packed} {generator.choice([name, name, ''])};")
    return " ".join(lines)


def program(generator):
    text = "enum e { E };\nstruct inner { char a; short b; } __attribute__((packed));\n"
    for index in range(40):
        attribute = generator.choice(
            ["", "", " __attribute__((packed))", " __attribute__((aligned(16)))",
             " __attribute__((packed, aligned(2)))"]
        )  # fmt: skip
        kind = generator.choice(["struct", "struct", "union"])
        text += f"{kind} r{index} {{ {members(generator, 0, [0])} char last; }}{attribute};\n"
    return text


def declaration(text, subject):
    name = re.split(r"__|\.", subject)[0]
    return next((line for line in text.splitlines() if f" {name} " in line), "")


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
@pytest.mark.parametrize("seed", range(3))
def test_random_layouts(tmp_path, name, seed):
    text = program(random.Random(seed))  # noqa: S311
    abi, result = prove(tmp_path, text, arch.ARCHITECTURES[name])
    shown = [f"{d}\n{declaration(text, d.subject)}" for d in result.differences[:5]]
    assert shown == []
    assert not abi.opaque
    assert result.counts["field offsets"] > 150
