"""Macro expansion: the C standard's own examples, GNU's forms, and what must be refused."""

from __future__ import annotations

import pytest

from kvmabi.errors import HeaderError
from kvmabi.header.lexer import spelling

# C17, 6.10.3.5, example 3: rescanning and redefinition.
EXAMPLE_3 = """
#define x 3
#define f(a) f(x * (a))
#undef x
#define x 2
#define g f
#define z z[0]
#define h g(~
#define m(a) a(w)
#define w 0,1
#define t(a) a
#define p() int
#define q(x) x
#define r(x,y) x ## y
#define str(x) # x
"""


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (
            "f(y+1) + f(f(z)) % t(t(g)(0) + t)(1);",
            "f(2 * (y+1)) + f(2 * (f(2 * (z[0])))) % f(2 * (0)) + t(1);",
        ),
        (
            "g(x+(3,4)-w) | h 5) & m(f)^m(m);",
            "f(2 * (2+(3,4)-0,1)) | f(2 * (~ 5)) & f(2 * (0,1))^m(0,1);",
        ),
        ("p() i[q()] = { q(1), r(2,3), r(4,), r(,5), r(,) };", "int i[] = { 1, 23, 4, 5, };"),
        ("char c[2][6] = { str(hello), str() };", 'char c[2][6] = { "hello", "" };'),
    ],
)
def test_example_3_of_the_standard(expanded, text, result):
    got = expanded(f"{EXAMPLE_3}#define RESULT {text}\n")
    assert got.replace(" ", "") == result.replace(" ", "")


# C17, 6.10.3.5, example 4: stringifying and pasting.
EXAMPLE_4 = """
#define str(s) # s
#define xstr(s) str(s)
#define debug(s, t) printf("x" # s "= %d, x" # t "= %s", x ## s, x ## t)
#define INCFILE(n) vers ## n
#define glue(a, b) a ## b
#define xglue(a, b) glue(a, b)
#define HIGHLOW "hello"
#define LOW LOW ", world"
"""


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("debug(1, 2)", 'printf("x" "1" "= %d, x" "2" "= %s", x1, x2)'),
        (
            r"""str(strncmp("abc\0d", "abc", '\4') == 0)""",
            r'''"strncmp(\"abc\\0d\", \"abc\", '\\4') == 0"''',
        ),
        ("xstr(INCFILE(2).h)", '"vers2.h"'),
        ("glue(HIGH, LOW)", '"hello"'),
        ("xglue(HIGH, LOW)", '"hello" ", world"'),
    ],
)
def test_example_4_of_the_standard(expanded, text, result):
    assert expanded(f"{EXAMPLE_4}#define RESULT {text}\n") == result


# C17, 6.10.3.5, example 5 and 7: pasting with nothing, and variable arguments.
@pytest.mark.parametrize(
    ("text", "result"),
    [
        (
            "#define t(x,y,z) x##y##z\n#define RESULT { t(1,2,3), t(,4,5), t(6,,7), t(,,) }",
            "{ 123, 45, 67, }",
        ),
        ("#define say(...) f(__VA_ARGS__)\n#define RESULT say(a, b, c)", "f(a, b, c)"),
        ("#define say(x, ...) f(#x, #__VA_ARGS__)\n#define RESULT say(a, b, c)", 'f("a", "b, c")'),
        (
            "#define say(x, ...) f(x, ## __VA_ARGS__)\n#define RESULT say(a) say(a, b)",
            "f(a) f(a, b)",
        ),
        (
            "#define say(x, rest...) f(x, ## rest)\n#define RESULT say(a) say(a, b, c)",
            "f(a) f(a, b, c)",
        ),
        ("#define say(x, rest...) g(rest, x)\n#define RESULT say(a, b, c)", "g(b, c, a)"),
    ],
)
def test_pasting_nothing_and_variable_arguments(expanded, text, result):
    assert expanded(text + "\n") == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("#define A A + 1\n#define RESULT A", "A + 1"),
        ("#define A B\n#define B A\n#define RESULT A B", "A B"),
        ("#define f(x) x f\n#define RESULT f(1)(2)", "1 f(2)"),
        ("#define f(x) x\n#define RESULT f", "f"),
        ("#define f() 1\n#define RESULT f() + f", "1 + f"),
        ("#define f(x) [x]\n#define RESULT f()", "[]"),
        ("#define f(a, b) a-b\n#define RESULT f((1, 2), f(3, 4))", "(1, 2)-3-4"),
        ("#define KVM_X KVM_X\n#define RESULT KVM_X", "KVM_X"),
        ("#define A 1 \\\n + 2\n#define RESULT A", "1 + 2"),
        ("#define A 1/* a\n comment */+ 2\n#define RESULT A", "1 + 2"),
        ("#define A 1 // to the end\n#define RESULT A", "1"),
        ("#define RESULT __LINE__ __FILE__", '1 "linux/kvm.h"'),
    ],
)
def test_what_expands_again_and_what_does_not(expanded, text, result):
    assert expanded(text + "\n") == result


def test_a_macro_counts_from_where_it_is_defined(parse_text):
    header = parse_text(
        "struct s {\n#define N 2\nint a[N];\n#undef N\n#define N 3\nint b[N];\n};\n"
    )
    fields = header.declarations[0].type.fields
    assert [field.type.size.text for field in fields] == ["2", "3"]
    assert spelling(header.macros["N"].body) == "3"


def test_a_call_may_go_over_lines_and_conditions(parse_text):
    text = "#define f(a, b) int a; int b;\nf(one,\n#ifdef NO\nnone\n#else\ntwo\n#endif\n)\n"
    names = [declaration.name for declaration in parse_text(text).declarations]
    assert names == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("#define f(a, b) a\nint f(1);\n", "takes 2 arguments, here are 1", 2),
        ("#define f(a) a\nint f(1, 2);\n", "takes 1 arguments, here are 2", 2),
        ("#define f(a) a\nint f(1;\n", "the arguments of f are never closed", 2),
        ("#define f(a,\n", "parameter", 1),
        ("#define f(a b) a\n", "not closed", 1),
        ("#define f(a, a) a\n", "expected a parameter's name", 1),
        ("#define f(..., a) a\n", "not closed", 1),
        ("#define f(a) # b\n", "no parameter", 1),
        ("#define A ## b\n", "## stands at an end", 1),
        ("#define A b ##\n", "## stands at an end", 1),
        ("#define 1 2\n", "expected the name of a macro", 1),
        ("#define\n", "expected the name of a macro", 1),
        ("#define g(a, b) a ## b\nint g(+, x);\n", "## cannot make one token", 2),
    ],
)
def test_a_wrong_macro_is_refused_at_its_place(parse_text, text, message, line):
    with pytest.raises(HeaderError, match=message) as caught:
        parse_text(text)
    assert (caught.value.file, caught.value.line) == ("linux/kvm.h", line)
    assert caught.value.source == text.splitlines()[line - 1]


def test_a_macro_that_is_wrong_only_when_used_says_so(parse_text):
    macro = parse_text("#define f(a, b) a\n#define BAD f(1)\n").macros["BAD"]
    assert "takes 2 arguments" in macro.problem
