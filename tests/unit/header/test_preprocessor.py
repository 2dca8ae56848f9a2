"""Directives: conditions, inclusion, and the places of errors."""

from __future__ import annotations

import pytest

from kvmabi.errors import HeaderError
from kvmabi.header import HeaderTree, SourceFile, parse, source_from_bytes
from kvmabi.header.source import MAX_FILE_BYTES


def names(header):
    return [declaration.name for declaration in header.declarations]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("1", True),
        ("0", False),
        ("UNKNOWN", False),
        ("defined KNOWN", True),
        ("defined(KNOWN) && !defined(UNKNOWN)", True),
        ("KNOWN == 5", True),
        ("KNOWN > 5 || KNOWN < 5", False),
        ("-1 > 0u", True),  # as uintmax_t
        ("-1 < 0", True),
        ("(2 || 1 / 0) && !(0 && 1 / 0)", True),
        ("1 ? 2 : (1 / 0)", True),
        ("0x7fffffffffffffff + 0 > 0", True),
        ("0xffffffffffffffff == -1", True),
        ("'a' == 97", True),
        ("1 << 40", True),
        ("~0 == -1", True),
        ("10 % 4 == 2 && -7 / 2 == -3", True),
        ("CALL(2) == 3", True),
        ("0b101 == 05", True),
    ],
)
def test_conditions(parse_text, condition, holds):
    text = (
        "#define KNOWN 5\n#define CALL(x) (x + 1)\n"
        f"#if {condition}\nint yes;\n#else\nint no;\n#endif\n"
    )
    assert names(parse_text(text)) == ["yes" if holds else "no"]


def test_elif_takes_the_first_branch_that_holds(parse_text):
    text = "#if 0\nint a;\n#elif 1\nint b;\n#elif 1\nint c;\n#else\nint d;\n#endif\n"
    assert names(parse_text(text)) == ["b"]


def test_text_that_does_not_count_may_be_anything(parse_text):
    skipped = "don't @ ` \"\n#error no\n#nonsense\n#if garbage ((\n#endif\n#include <none.h>\n"
    text = f"#if 0\n{skipped}#endif\nint a;\n"
    assert names(parse_text(text)) == ["a"]


def test_elifdef_and_ifndef(parse_text):
    text = "#define A\n#ifndef A\nint a;\n#elifdef A\nint b;\n#else\nint c;\n#endif\n"
    assert names(parse_text(text)) == ["b"]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("#if 1\nint a;\n", "never closed", 1),
        ("#endif\n", "without an #if", 1),
        ("#else\n", "without an #if", 1),
        ("#if 1\n#else\n#else\n#endif\n", "behind #else", 3),
        ("#if 1\n#else\n#elif 1\n#endif\n", "behind #else", 3),
        ("#if\n#endif\n", "without a condition", 1),
        ("#if (1\n#endif\n", "expected", 1),
        ("#if 1 1\n#endif\n", "expected nothing more", 1),
        ("#if 1 / 0\n#endif\n", "division by zero", 1),
        ("#if defined\n#endif\n", "defined NAME", 1),
        ("#if F(1)\n#endif\n", "cannot be evaluated", 1),
        ("#ifdef\n#endif\n", "expected the name", 1),
        ("\n#error stop here\n", "#error stop here", 2),
        ("#nonsense\n", "unknown directive", 1),
        ("#pragma pack(1)\n", "not supported", 1),
        ("#include\n", "expected <name>", 1),
        ("#include <none.h>\n", "none.h is in none of the include folders", 1),
        ("/* a\nb", "never closed", 1),
    ],
)
def test_a_wrong_directive_is_refused_at_its_place(parse_text, text, message, line):
    with pytest.raises(HeaderError, match=message) as caught:
        parse_text(text)
    assert (caught.value.file, caught.value.line) == ("linux/kvm.h", line)


def test_an_error_shows_file_line_column_and_source(parse_text):
    with pytest.raises(HeaderError) as caught:
        parse_text("int a;\nstruct s {\n\tint b;\n\tnonsense c;\n};\n")
    assert str(caught.value) == (
        "linux/kvm.h:4:2: unknown type name, found 'nonsense'\n  \tnonsense c;\n  \t^"
    )


def test_a_place_behind_spliced_lines_is_that_on_disk(parse_text):
    with pytest.raises(HeaderError) as caught:
        parse_text("#define A 1 \\\n  2 \\\n  3\nint a; nonsense b;\n")
    assert (caught.value.line, caught.value.column) == (4, 8)
    with pytest.raises(HeaderError) as caught:
        parse_text("int a\\\n; int \\\r\n 5;\n")
    assert (caught.value.line, caught.value.column) == (3, 2)


def test_an_error_in_a_long_line_stays_short(parse_text):
    with pytest.raises(HeaderError) as caught:
        parse_text("int a;" * 10_000 + "nonsense b;\n")
    assert len(str(caught.value)) < 300
    assert caught.value.column == 60_001


def test_headers_are_found_in_the_order_of_the_folders(tmp_path):
    for folder, name in (("first", "a"), ("second", "b")):
        (tmp_path / folder / "asm").mkdir(parents=True)
        (tmp_path / folder / "asm" / "kvm.h").write_text(f"int {name};\n")
    (tmp_path / "second" / "linux").mkdir()
    (tmp_path / "second" / "linux" / "kvm.h").write_text("#include <asm/kvm.h>\n")
    tree = HeaderTree.of(tmp_path / "first", tmp_path / "second")
    header = parse(tree)
    assert names(header) == ["a"]
    assert header.files == ("linux/kvm.h", "asm/kvm.h")
    (tmp_path / "first" / "asm" / "kvm.h").write_text("int a;\n#include_next <asm/kvm.h>\n")
    tree = HeaderTree.of(tmp_path / "first", tmp_path / "second")
    assert names(parse(tree)) == ["a", "b"]


def test_inclusion_forms(parse_text):
    files = {
        "linux/one.h": "#ifndef ONE\n#define ONE\nint one;\n#endif\n",
        "linux/two.h": "#pragma once\nint two;\n",
        "three.h": "int three;\n",
    }
    text = (
        "#define NAME <three.h>\n"
        '#include "one.h"\n#include <linux/one.h>\n#include <linux/two.h>\n#include "two.h"\n'
        "#include NAME\n"
    )
    assert names(parse_text(text, files)) == ["one", "two", "three"]


def test_a_header_without_guard_is_read_each_time(parse_text):
    header = parse_text("#include <a.h>\n#include <a.h>\n", {"a.h": "int a;\n"})
    assert names(header) == ["a", "a"]


def test_a_guard_needs_to_be_around_the_whole_file(parse_text):
    files = {"a.h": "#ifndef A\n#define A\n#else\nint again;\n#endif\n"}
    assert names(parse_text("#include <a.h>\n#include <a.h>\n", files)) == ["again"]


def test_predefined_macros_hold_and_are_not_reported(parse_text):
    header = parse_text("#ifdef __x86_64__\nint a;\n#endif\n", predefined=[("__x86_64__", "1")])
    assert names(header) == ["a"]
    assert "__x86_64__" not in header.macros


def test_overlays_are_read_behind_the_headers(tmp_path):
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "kvm.h").write_text("#define A 1\n")
    overlay = SourceFile("overlays/x.h", "#ifdef A\n#define B 2\n#endif\n")
    header = parse(HeaderTree.of(tmp_path), overlays=[overlay])
    assert header.macros["B"].at.file.name == "overlays/x.h"
    assert header.files == ("linux/kvm.h", "overlays/x.h")


def test_warnings_are_noted(parse_text):
    assert parse_text("#warning old\n").notes == ("linux/kvm.h:1: #warning old",)


def test_files_that_are_no_text():
    with pytest.raises(HeaderError, match="NUL byte") as caught:
        source_from_bytes(b"int a;\n\0", "x.h")
    assert caught.value.line == 2
    with pytest.raises(HeaderError, match="longer than"):
        source_from_bytes(b" " * (MAX_FILE_BYTES + 1), "x.h")
    assert source_from_bytes(b"/* \xe9 */", "x.h").text == "/* \xe9 */"
    assert source_from_bytes(b"\xef\xbb\xbfint a;", "x.h").text == "int a;"


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(HeaderError, match="no such folder"):
        HeaderTree.of(tmp_path / "none")
