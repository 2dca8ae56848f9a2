"""Input that wants to make the parser hang, crash or grow: a HeaderError, or an answer, soon."""

from __future__ import annotations

import contextlib
import random

import pytest

from kvmabi.errors import HeaderError


def doubling(count):
    rows = (f"#define A{i} A{i - 1} A{i - 1} A{i - 1}\n" for i in range(1, count))
    return "#define A0 x\n" + "".join(rows)


REFUSED = {
    "macros that double": (doubling(60) + "int A59;\n", "expand to more than"),
    "calls that double": (
        "".join(f"#define F{i}(x) F{i + 1}(x) F{i + 1}(x)\n" for i in range(60)) + "F0(1)\n",
        "expand to more than",
    ),
    "a macro in itself, by arguments": (
        "#define F(x) x x\n" + "F(" * 60 + "1" + ")" * 60 + "\n",
        "expand to more than",
    ),
    "a chain of macros": (
        "".join(f"#define A{i} A{i + 1}\n" for i in range(20_000)) + "int A0;\n",
        "expand more than 100 deep",
    ),
    "parentheses": ("enum { A = " + "(" * 100_000, "nested more than"),
    "unary operators": ("enum { A = " + "- " * 100_000 + "1 };\n", "nested more than"),
    "conditionals": ("enum { A = " + "1?1:" * 50_000 + "1 };\n", "nested more than"),
    "casts": ("enum { A = " + "(int)" * 50_000 + "1 };\n", "nested more than"),
    "sizeof": ("enum { A = " + "sizeof " * 50_000 + "1 };\n", "nested more than"),
    "records": ("struct a {" * 5_000, "nested more than"),
    "declarators": ("int " + "(" * 5_000 + "x" + ")" * 5_000 + ";\n", "nested more than"),
    "pointers": ("int " + "*" * 50_000 + "x;\n", "pointers to pointers"),
    "dimensions": ("struct s { int x" + "[2]" * 50_000 + "; };\n", "dimensions"),
    "parameters": (
        "#define F(" + ",".join(f"a{i}" for i in range(20_000)) + ") 1\n",
        "more than 1000 parameters",
    ),
    "conditions": ("#if 1\n" * 10_000, "nested more than"),
    "a header in itself": ("#include <linux/kvm.h>\n" * 2, "include each other"),
    "a long pasted name": (
        "#define R(a) " + "a##" * 50_000 + "a\nR(xx)\n",
        "more than 10000 characters",
    ),
    "binary junk": (bytes(range(1, 256)) * 100, "expected a declaration"),
    "quotes": ('"' * 9_999 + "\n", "expected a declaration"),
    "a file cut short": ("struct kvm {\n int x", "expected ';', found the end"),
    "a record cut short": ("struct kvm {\n int x;\n", "never closed"),
    "an attribute cut short": ("struct s { int x; } __attribute__((", "the text ends"),
    "too long a file": ("int x;" * 500_000, "longer than"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(parse_text, name):
    text, message = REFUSED[name]
    with pytest.raises(HeaderError, match=message) as caught:
        parse_text(text)
    assert len(str(caught.value)) < 600


ANSWERED = {
    "a long sum": "enum { A = " + "1+" * 50_000 + "1 };\n",
    "many fields": "struct s {" + "int x:1;" * 20_000 + "};\n",
    "a long chain of typedefs": "typedef int t0;\n"
    + "".join(f"typedef t{i} t{i + 1};\n" for i in range(10_000)),
    "spliced lines": "\\\n" * 200_000 + "int x;\n",
    "a long name": "int " + "x" * 1_000_000 + ";\n",
    "many guarded inclusions": "#ifndef G\n#define G\nint x;\n"
    + "#include <linux/kvm.h>\n" * 20_000
    + "#endif\n",
}


@pytest.mark.parametrize("name", ANSWERED)
def test_answered(parse_text, name):
    assert parse_text(ANSWERED[name]).declarations


def test_exponential_inclusion_ends(parse_text):
    files = {f"{i}.h": f"#include <{i + 1}.h>\n" * 3 for i in range(30)} | {"30.h": "int x;\n"}
    with pytest.raises(HeaderError, match="headers are included"):
        parse_text("#include <0.h>\n", files)


SAMPLE = """
#define FLAG(n) (1ULL << (n))
#define NAME(a, b...) a ## _x, ## b
struct one {
    int a:3, b; union { char c[4]; struct { short d; }; }; void (*f)(int);
} __attribute__((packed));
enum two { X = FLAG(3), Y, Z = sizeof(struct one) };
typedef struct { unsigned long long v[2]; } three;
#if defined(FLAG) && X < 3
extern int g(three *p);
#endif
"""


@pytest.mark.parametrize("seed", range(300))
def test_damaged_text_gives_an_answer_or_a_header_error(parse_text, seed):
    generator = random.Random(seed)  # noqa: S311
    text = list(SAMPLE)
    for _ in range(generator.randint(1, 12)):
        position = generator.randrange(len(text))
        action = generator.randrange(3)
        if action == 0:
            del text[position : position + generator.randint(1, 9)]
        elif action == 1:
            text.insert(position, generator.choice("(){}[]#,;:'\"\\*\n=?<>01ax \t\x01\xff"))
        else:
            start = generator.randrange(len(text))
            text[position:position] = text[start : start + generator.randint(1, 30)]
    with contextlib.suppress(HeaderError):
        parse_text("".join(text))
