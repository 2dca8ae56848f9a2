from __future__ import annotations

import pytest

from kvmabi.lab.build import cedits
from kvmabi.lab.build.cedits import Where

SOURCE = """\
/* count(ring) in a comment is no call */
#include <ring.h>

enum ring_flag {
\tring_flag_nr_a,
\tring_flag_nr_max,
};

struct ring {
\tint size;	// of the ring
\tint used;
};

static int used(struct ring *ring);

static inline int used(struct ring *ring)
{
\tif (ring->used > ring->size) {
\t\tprintk("used }{ \\"%d\\"\\n",
\t\t       ring->used);
\t\treturn -1;
\t}
\treturn ring->used;
}

static void grow(struct ring *ring, int by)
\t__must_hold(&ring->lock)
{
\tring->used += by;
\tcount(ring, max(by, 1), 'x');
\tring->used += by;
}
"""


def spelled(pattern: str, within: str = "") -> list[str]:
    return [SOURCE[one.start : one.end] for one in cedits.find(SOURCE, pattern, within)]


def changed(pattern: str, new: str, where: Where, within: str = "") -> str:
    (match,) = cedits.find(SOURCE, pattern, within)
    return cedits.edit(SOURCE, match, new, where)


def test_white_space_and_comments_play_no_part() -> None:
    assert spelled("int size ;int\n\tused") == ["int size;	// of the ring\n\tint used"]
    assert spelled('printk ( "used }{ \\"%d\\"\\n", /* of */ ring->used )') != []


def test_comments_and_strings_are_not_searched() -> None:
    assert spelled("count") == ["count"]
    assert spelled("is no call") == []
    assert spelled("used }") == []


@pytest.mark.parametrize(
    "part", ["use", "ring->us", "ring- >used", "retur", "+ =", "& ring -> lock ("]
)
def test_only_whole_tokens_match(part: str) -> None:
    assert spelled(part) == []


def test_a_pattern_is_found_as_often_as_it_stands_there() -> None:
    assert len(spelled("ring->used += by;")) == 2
    assert len(spelled("ring->used")) == 5


def test_a_scope_is_a_definition_and_no_declaration() -> None:
    have = cedits.tokens(SOURCE)
    for name, first, last in [
        ("used", "used(struct", "ring->used;\n}"),
        ("grow", "grow(struct", "+= by;\n}"),
        ("enum ring_flag", "ring_flag {", "_max,\n}"),
        ("struct ring", "ring {", "int used;\n}"),
    ]:
        (scope,) = cedits.scopes(have, name)
        text = SOURCE[have[scope.start].start : have[scope.stop - 1].end]
        assert text.startswith(first)
        assert text.endswith(last)


@pytest.mark.parametrize("name", ["count", "printk", "ring", "struct used", "enum ring", "max"])
def test_a_call_or_another_kind_is_no_scope(name: str) -> None:
    assert cedits.scopes(cedits.tokens(SOURCE), name) == []
    assert cedits.find(SOURCE, "ring", name) == []


def test_a_scope_bounds_the_search() -> None:
    assert len(spelled("ring->used", "grow")) == 2
    assert spelled("return", "grow") == []
    assert spelled("size", "struct ring") == ["size"]


def test_every_definition_of_a_function_is_searched() -> None:
    both = "#ifdef A\nint f(void)\n{ return 1; }\n#else\nint f(void) { return 0; }\n#endif\n"
    assert len(cedits.scopes(cedits.tokens(both), "f")) == 2
    assert len(cedits.find(both, "return", "f")) == 2
    assert len(cedits.find(both, "return 0", "f")) == 1


def test_an_unbalanced_bracket_ends_in_no_match() -> None:
    assert cedits.scopes(cedits.tokens("int f(void { return 1;"), "f") == []
    assert cedits.find("f(a, (b;", "f($1)") == []


def test_a_hole_stands_for_an_expression() -> None:
    (match,) = cedits.find(SOURCE, "count(ring, $1, 'x')")
    assert match.holes == {"$1": "max(by, 1)"}
    (match,) = cedits.find(SOURCE, "count($1)")
    assert match.holes == {"$1": "ring, max(by, 1), 'x'"}


def test_a_hole_takes_the_shortest_run_and_no_bracket_half() -> None:
    (match,) = cedits.find("f(a, b, c)", "f($1, $2)")
    assert match.holes == {"$1": "a", "$2": "b, c"}
    assert cedits.find("f(); g(x)", "f($1)") == []
    assert cedits.find("a; b", "a $1 b") == []


def test_a_hole_that_is_repeated_is_the_same_run() -> None:
    assert len(cedits.find("a.b < c || a . b > c; a < b || c > b", "$1 < $2 || $1 > $2")) == 1


def test_a_place_is_replaced() -> None:
    text = changed("($1 > $2)", "($2 < $1)", Where.REPLACE)
    assert "if (ring->size < ring->used) {" in text
    assert text.replace("ring->size < ring->used", "ring->used > ring->size") == SOURCE


def test_what_is_added_to_a_whole_line_has_its_own() -> None:
    text = changed("return ring->used;", "check(ring);", Where.BEFORE)
    assert "\tcheck(ring);\n\treturn ring->used;\n" in text
    text = changed("ring_flag_nr_a,", "ring_flag_nr_b,", Where.AFTER)
    assert "\tring_flag_nr_a,\n\tring_flag_nr_b,\n\tring_flag_nr_max," in text


def test_every_line_that_is_added_is_indented() -> None:
    text = changed("return ring->used;", "\nif (bad)\n\treturn 0;\n", Where.BEFORE)
    assert "\tif (bad)\n\t\treturn 0;\n\treturn ring->used;\n" in text


def test_what_is_added_inside_a_line_stays_there() -> None:
    text = changed("ring->size", "&& ring->size", Where.AFTER)
    assert "> ring->size && ring->size) {" in text
    text = changed("> ring->size", "+ 1", Where.BEFORE)
    assert "ring->used + 1 > ring->size)" in text


def test_nothing_added_is_nothing_changed() -> None:
    assert changed("return -1;", "", Where.AFTER) == SOURCE
    assert changed("return -1;", "", Where.BEFORE) == SOURCE
    assert "return -1;" not in changed("return -1;", "", Where.REPLACE)


def test_a_continued_directive_is_one_text() -> None:
    text = "#define BOTH(a, b) \\\n\tdo { a; \\\n\t     b; } while (0)\n"
    (match,) = cedits.find(text, "a; b;")
    assert cedits.edit(text, match, "b; a;", Where.REPLACE) == (
        "#define BOTH(a, b) \\\n\tdo { b; a; } while (0)\n"
    )


def test_lines_count_from_one() -> None:
    assert [cedits.line_of("a\nb\n\nc", at) for at in (0, 2, 5)] == [1, 2, 4]
