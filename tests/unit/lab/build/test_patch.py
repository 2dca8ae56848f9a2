from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kvmabi.errors import UsageError
from kvmabi.lab.build import patch
from kvmabi.lab.build.cedits import Where
from kvmabi.lab.build.patch import Edit, Patch, apply, parse_edit, parse_patch, read_patch

MAKEFILE = "# of a kernel\nVERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 176\nNAME = x\n"
TWO = "int one(int a)\n{\n\treturn a;\n}\n\nint two(int a)\n{\n\treturn a;\n}\n"
ROW = {"file": "kernel/two.c", "find": "return a;", "replace": "return 2;"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "kernel/two.c").write_text(TWO)
    (tmp_path / "kernel/other.c").write_text("int other;\n")
    return tmp_path


def of(*rows: dict[str, str]) -> Patch:
    return Patch("try", "", tuple(parse_edit(row) for row in rows))


def test_a_table_is_an_edit() -> None:
    row = {**ROW, "in": "two", "since": "6.1", "until": "6.12.3", "why": "why"}
    assert parse_edit(row) == Edit(
        "kernel/two.c",
        "return a;",
        "return 2;",
        "two",
        Where.REPLACE,
        (6, 1),
        (6, 12, 3),
        "why",
    )
    assert parse_edit({"file": "a", "find": "b", "after": ""}).where is Where.AFTER
    assert parse_edit({"file": "a", "find": "b", "before": "c", "in": "enum  x"}).within == "enum x"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"typo": "x"}, "no typo"),
        ({"after": "x"}, "exactly one of replace, before and after"),
        ({"find": 3}, "find must be a string"),
        ({"find": "  "}, "needs a find"),
        ({"file": ""}, "needs a file"),
        ({"file": "/etc/passwd"}, "in the kernel's tree"),
        ({"file": "kernel/../../x.c"}, "in the kernel's tree"),
        ({"in": "int two(int a)"}, "not in int two"),
        ({"since": "six"}, "'six' is no kernel version"),
    ],
)
def test_a_table_that_is_no_edit_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        parse_edit({**ROW, **change})


def test_an_edit_needs_one_of_the_three() -> None:
    with pytest.raises(UsageError, match="exactly one"):
        parse_edit({"file": "a", "find": "b"})


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"name": "x"}, "at least one"),
        ({"edit": [ROW]}, "needs name"),
        ({"name": "x", "edit": ["a"]}, "label: .* at least one"),
        ({"name": "x", "edit": ROW}, "label: .* at least one"),
        ({"name": "x", "edit": [ROW], "more": 1}, "no more"),
        ({"name": "x", "edit": [ROW, {"file": "a"}]}, "label, edit 2: "),
    ],
)
def test_a_document_that_is_no_patch_is_refused(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_patch(row, "label")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "x"\nabout = "y"\n[[edit]]\nfile = "a"\nfind = "b"\nreplace = "c"\n')
    assert read_patch(path) == Patch("x", "y", (Edit("a", "b", "c"),))


@pytest.mark.parametrize("text", ["name = ", "\udcff"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"mine\.toml cannot be read"):
        read_patch(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_patch(tmp_path / "none.toml")


def test_edits_are_made_in_turn(tree: Path) -> None:
    rows = (
        {**ROW, "in": "two"},
        {"file": "kernel/two.c", "find": "return 2;", "before": "a++;"},
        {"file": "kernel/other.c", "find": "other", "replace": "another"},
    )
    assert apply(of(*rows), tree) == (tree / "kernel/two.c", tree / "kernel/other.c")
    text = (tree / "kernel/two.c").read_text()
    assert text == TWO[:-13] + "\ta++;\n\treturn 2;\n}\n"
    assert (tree / "kernel/other.c").read_text() == "int another;\n"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (ROW, r"edit 2: kernel/two.c: 'return a;' is to be found once in the file, and is there 2"),
        ({**ROW, "in": "two", "find": "b"}, "found once in two, and is there 0 times"),
        ({**ROW, "in": "three"}, "kernel/two.c has no definition of three"),
        ({**ROW, "file": "kernel/three.c"}, "kernel/three.c: No such file"),
    ],
)
def test_where_one_edit_fails_nothing_is_written(
    tree: Path, row: dict[str, str], says: str
) -> None:
    good = {"file": "kernel/other.c", "find": "other", "replace": "another"}
    with pytest.raises(UsageError, match=f"the patch try, {says}" if "edit" in says else says):
        apply(of(good, row), tree)
    assert (tree / "kernel/other.c").read_text() == "int other;\n"
    assert (tree / "kernel/two.c").read_text() == TWO
    assert len(list((tree / "kernel").iterdir())) == 2


@pytest.mark.parametrize("name", ["inside/two.c", "outside/two.c"])
def test_a_file_behind_a_link_is_refused(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "two.c").write_text(TWO)
    (tree / "inside").symlink_to("kernel")
    (tree / "outside").symlink_to(elsewhere)
    row = {**ROW, "file": name, "in": "two"}
    with pytest.raises(UsageError, match=f"edit 1: {name} lies behind a symbolic link"):
        apply(of(row), tree)
    assert (elsewhere / "two.c").read_text() == (tree / "kernel/two.c").read_text() == TWO


def test_where_a_file_cannot_be_written_the_others_are_put_back(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = patch._write

    def refuse(path: Path, text: str) -> None:
        if path.name == "other.c":
            raise PermissionError(13, "Permission denied", str(path))
        write(path, text)

    monkeypatch.setattr(patch, "_write", refuse)
    other = {"file": "kernel/other.c", "find": "other", "replace": "another"}
    with pytest.raises(UsageError, match=r"cannot write .*other\.c: Permission denied"):
        apply(of({**ROW, "in": "two"}, other), tree)
    assert (tree / "kernel/two.c").read_text() == TWO


@pytest.mark.parametrize(
    ("bounds", "applies"),
    [
        ({"since": "6.1"}, True),
        ({"since": "6.1.176"}, True),
        ({"since": "6.1.177"}, False),
        ({"since": "6.2"}, False),
        ({"since": "6"}, True),
        ({"until": "6.2"}, True),
        ({"until": "6.1"}, False),
        ({"until": "6.1.177"}, True),
        ({"since": "5.10", "until": "6.1.176"}, False),
    ],
)
def test_an_edit_belongs_to_its_versions(tree: Path, bounds: dict[str, str], applies: bool) -> None:
    always = {"file": "kernel/other.c", "find": "other", "replace": "another"}
    apply(of(always, {**ROW, "in": "two", **bounds}), tree)
    assert ("return 2;" in (tree / "kernel/two.c").read_text()) is applies


def test_a_patch_for_other_kernels_is_refused(tree: Path) -> None:
    with pytest.raises(UsageError, match=r"the patch try has no edit for 6\.1\.176"):
        apply(of({**ROW, "since": "6.12"}), tree)


def test_a_folder_without_a_version_is_no_tree(tmp_path: Path) -> None:
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="is no kernel source tree"):
        patch.tree_version(tmp_path)
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(UsageError, match="is no kernel source tree"):
        patch.tree_version(tmp_path)


def test_mode_bytes_and_hard_links_are_kept(tree: Path) -> None:
    path = tree / "kernel/odd.c"
    path.write_bytes(b"int a; /* \xff\r\n */\r\n")
    path.chmod(0o640)
    os.link(path, tree / "kernel/linked.c")
    apply(of({"file": "kernel/odd.c", "find": "a", "replace": "b"}), tree)
    assert path.read_bytes() == b"int b; /* \xff\r\n */\r\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert (tree / "kernel/linked.c").read_bytes() == b"int a; /* \xff\r\n */\r\n"


def test_an_edit_without_effect_changes_no_file(tree: Path) -> None:
    assert apply(of({"file": "kernel/other.c", "find": "other", "after": ""}), tree) == ()
