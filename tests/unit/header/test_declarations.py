"""Declarations and expressions: every form that kernel headers use."""

from __future__ import annotations

import pytest

from kvmabi.errors import HeaderError
from kvmabi.header import syntax
from kvmabi.header.integers import NotConstant, character, characters, literal
from kvmabi.header.specifiers import basic_type


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("int", "int"),
        ("unsigned", "unsigned int"),
        ("long unsigned int", "unsigned long"),
        ("long int long unsigned", "unsigned long long"),
        ("__signed__ char", "signed char"),
        ("char", "char"),
        ("unsigned char", "unsigned char"),
        ("short int", "short"),
        ("signed", "int"),
        ("unsigned __int128", "unsigned __int128"),
        ("long double", "long double"),
        ("_Bool", "_Bool"),
        ("long long long", None),
        ("signed unsigned", None),
        ("short long", None),
        ("unsigned float", None),
        ("char int", None),
        ("void int", None),
    ],
)
def test_words_that_make_a_type(words, name):
    assert basic_type(words.split()) == name


def only(header):
    assert len(header.declarations) == 1
    return header.declarations[0]


def described(type_):
    match type_:
        case syntax.Basic(name=name) | syntax.TypedefName(name=name):
            return name
        case syntax.PointerSyntax(target=target):
            return f"pointer to {described(target)}"
        case syntax.ArraySyntax(element=element, size=size):
            return f"array {'of unknown length ' if size is None else ''}of {described(element)}"
        case syntax.FunctionSyntax(returns=returns):
            return f"function returning {described(returns)}"
        case syntax.RecordSyntax(kind=kind, tag=tag):
            return f"{kind} {tag}"
        case syntax.EnumSyntax(tag=tag):
            return f"enum {tag}"
    return type(type_).__name__


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("int x;", "int"),
        ("const volatile unsigned long *x;", "pointer to unsigned long"),
        ("char *x[3];", "array of pointer to char"),
        ("char (*x)[3];", "pointer to array of char"),
        ("int (*x)(int, char *);", "pointer to function returning int"),
        ("int *x(void);", "function returning pointer to int"),
        ("void (*x[2])(int);", "array of pointer to function returning void"),
        ("int (*(*x)(int))[5];", "pointer to function returning pointer to array of int"),
        ("int x[2][3];", "array of array of int"),
        ("int x[];", "array of unknown length of int"),
        ("struct s *x;", "pointer to struct s"),
        ("enum e x;", "enum e"),
        ("int (x);", "int"),
        ("extern int x, y;", "int"),
        ("static __inline__ int x(int a) { return a ? (1) : 2; }", "function returning int"),
        ("int x __attribute__((unused)) = 5;", "AlignedSyntax"),
        ("int x = { 1, 2 };", "int"),
        ("__extension__ int x;", "int"),
    ],
)
def test_declarators(parse_text, text, description):
    first = parse_text(text + "\n").declarations[0]
    assert first.name == "x"
    assert described(first.type) == description


def test_several_declarators_share_the_specifiers(parse_text):
    header = parse_text("typedef struct s { int a; } s_t, *s_p;\ns_p f(s_t);\n")
    assert [(d.kind, d.name) for d in header.declarations] == [
        ("typedef", "s_t"), ("typedef", "s_p"), ("object", "f"),
    ]  # fmt: skip
    assert header.typedefs == {"s_t", "s_p"}


def test_fields(parse_text):
    text = """
    struct s {
        int a, *b, c[2];
        unsigned d:3, :0, e:1;
        union { int f; };
        struct { int g; } h[4];
        struct t { int i; };
        void (*j)(struct s *);
        int k __attribute__((aligned(16)));
        _Static_assert(1, "fine");
        ;
    };
    """
    fields = only(parse_text(text)).type.fields
    assert [field.name for field in fields] == [*"abcd", None, "e", None, "h", None, "j", "k"]
    assert [field.width is not None for field in fields[3:6]] == [True, True, True]
    assert [attribute.name for attribute in fields[-1].attributes] == ["aligned"]


def test_attributes_of_records_stand_at_either_end(parse_text):
    text = "struct __attribute__((__packed__)) a { int x; } __attribute__((aligned(2), unused));\n"
    attributes = only(parse_text(text)).type.attributes
    assert [attribute.name for attribute in attributes] == ["packed", "aligned", "unused"]


def test_enums(parse_text):
    type_ = only(parse_text("enum e { A, B = 1 << 3, C __attribute__((deprecated)) = B, };\n")).type
    assert [item.name for item in type_.enumerators] == ["A", "B", "C"]
    assert [item.value is None for item in type_.enumerators] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int;;", None),
        ("struct s { int a }\n;", "expected ';', found '}'"),
        ("struct { int; };", None),
        ("struct { int };", "expected the name of a field"),
        ("struct s { typedef int a; };", "cannot stand in a record"),
        ("struct s { int : };", "expected an expression"),
        ("struct ;", "expected a tag"),
        ("enum { A B };", "expected ','"),
        ("enum { 5 };", "expected an enumerator"),
        ("enum ;", "expected a tag"),
        ("int int x;", "is no type"),
        ("struct s int x;", "two types"),
        ("long float x;", "is no type"),
        ("nonsense x;", "unknown type name"),
        ("int x[3;", "expected ']'"),
        ("int (*x;", "never closed"),
        ("int x; }", "expected a declaration"),
        ("int f(int a;", "never closed"),
        ("int a b;", "expected ';'"),
        ("typedef int;", None),
        ("int *;", "declares no name"),
        ("int x = (1;", "never closed"),
        ("@", "expected a declaration"),
    ],
)
def test_wrong_declarations(parse_text, text, message):
    if message is None:
        parse_text(text)
        return
    with pytest.raises(HeaderError, match=message) as caught:
        parse_text(text)
    assert caught.value.line >= 1
    assert caught.value.column >= 1


@pytest.mark.parametrize(
    ("text", "value", "type_"),
    [
        ("0", 0, "int"),
        ("2147483647", 2147483647, "int"),
        ("2147483648", 2147483648, "long"),
        ("0x7fffffff", 0x7FFFFFFF, "int"),
        ("0x80000000", 0x80000000, "unsigned int"),
        ("0xffffffffffffffff", 0xFFFFFFFFFFFFFFFF, "unsigned long"),
        ("9223372036854775807", 9223372036854775807, "long"),
        ("1u", 1, "unsigned int"),
        ("1l", 1, "long"),
        ("1UL", 1, "unsigned long"),
        ("1LU", 1, "unsigned long"),
        ("1ll", 1, "long long"),
        ("1ULL", 1, "unsigned long long"),
        ("1llu", 1, "unsigned long long"),
        ("0777", 511, "int"),
        ("0b1010", 10, "int"),
        ("4294967296u", 4294967296, "unsigned long"),
    ],
)
def test_literals_have_the_type_that_c_gives_them(text, value, type_):
    found = literal(text)
    assert (found.value, found.type.name) == (value, type_)


@pytest.mark.parametrize(
    "text",
    ["", "08", "1.5", "0x", "1lL", "1uu", "1lul", "1x", "18446744073709551616", "1e3", "0b2"],
)
def test_what_is_no_integer_literal(text):
    with pytest.raises(NotConstant):
        literal(text)


@pytest.mark.parametrize(
    ("text", "signed", "value"),
    [
        ("'a'", True, 97),
        (r"'\n'", True, 10),
        (r"'\0'", True, 0),
        (r"'\x7f'", True, 127),
        (r"'\xff'", True, -1),
        (r"'\xff'", False, 255),
        (r"'\''", True, 39),
        ("'ab'", True, 0x6162),
        ("'abcd'", True, 0x61626364),
    ],
)
def test_character_constants(text, signed, value):
    assert character(text, char_signed=signed).value == value


def test_what_is_no_character():
    for text in ("L'a'", r"'\q'", "'abcde'"):
        with pytest.raises(NotConstant):
            character(text, char_signed=True)
    assert characters(r"a\101\x41") == [97, 65, 65]
