from __future__ import annotations

import difflib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kvmabi.errors import ToolMissing, UsageError
from kvmabi.lab.build.changes import DiffChange, find_change, own_patches
from kvmabi.lab.build.patch import read_patch

OLD = "one\ntwo\nthree\nfour\n"
NEW = "one\n2\nthree\nfour\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "a").mkdir(parents=True)
    (folder / "a/x.c").write_text(OLD)
    (folder / "a/y.c").write_text(OLD)
    return folder


def diff(name: str, old: str = OLD, new: str = NEW) -> str:
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(lines)


def needs_git() -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")


@pytest.mark.parametrize("name", own_patches())
def test_our_patches_are_called_as_their_files(name: str) -> None:
    assert read_patch(own_patches()[name]).name == name
    change = find_change(name)
    assert change.label == name
    assert change.files() == {one.file for one in read_patch(own_patches()[name]).edits}


def test_pv_mmio_is_ours() -> None:
    patch = read_patch(own_patches()["pv-mmio"])
    assert {one.file for one in patch.edits} == {"include/uapi/linux/kvm.h", "virt/kvm/eventfd.c"}
    assert all(one.why for one in patch.edits)


def test_an_unknown_patch_names_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"no patch 'nothing': name one of ours \(pv-mmio"):
        find_change("nothing")


def test_a_file_of_edits_is_read(tmp_path: Path, tree: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[[edit]]\nfile = "a/x.c"\nfind = "two"\nreplace = "2"\n')
    change = find_change(str(path))
    assert change.label == "mine"
    change.make(tree)
    assert (tree / "a/x.c").read_text() == NEW


def test_a_diff_is_applied(tmp_path: Path, tree: Path) -> None:
    needs_git()
    path = tmp_path / "fix.diff"
    path.write_text("a mail's text\n---\n" + diff("a/x.c"))
    os.link(tree / "a/x.c", tmp_path / "linked")
    change = find_change(str(path))
    assert change.files() == {"a/x.c"}
    change.make(tree)
    assert (tree / "a/x.c").read_text() == NEW
    assert (tmp_path / "linked").read_text() == OLD, "a private copy shares files with its tree"
    assert sorted(one.name for one in (tree / "a").iterdir()) == ["x.c", "y.c"]


def test_a_diff_makes_and_removes_files(tree: Path) -> None:
    needs_git()
    change = DiffChange(
        "both",
        "--- /dev/null\n+++ b/a/new.c\n@@ -0,0 +1 @@\n+new\n"
        "--- a/a/y.c\n+++ /dev/null\n@@ -1,4 +0,0 @@\n-one\n-two\n-three\n-four\n",
    )
    assert change.files() == {"a/new.c", "a/y.c"}
    change.make(tree)
    assert (tree / "a/new.c").read_text() == "new\n"
    assert not (tree / "a/y.c").exists()


MOVED = """\
diff --git a/a/x.c b/a/z.c
similarity index 75%
rename from a/x.c
rename to a/z.c
""" + diff("a/x.c").replace("b/a/x.c", "b/a/z.c")
RUNS = "diff --git a/a/y.c b/a/y.c\nold mode 100644\nnew mode 100755\n"
SERIES = f"""\
Subject: one
--- a//srv/work is no header

{diff("a/x.c")}--\x20
2.39

Subject: two
---
 a/x.c | 2 +-

{diff("a/x.c", NEW, NEW.replace("one", "1"))}"""


def state(tree: Path) -> dict[str, tuple[str, int]]:
    found = (path for path in tree.rglob("*") if not path.is_dir())
    return {str(path.relative_to(tree)): (path.read_text(), path.stat().st_mode) for path in found}


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (diff("a/x.c").replace("\n", "\r\n"), {"a/x.c"}),
        (diff("a/x.c").replace("x.c\n", "x.c 2026-01-01 10:00:00.000000001 +0000\n"), {"a/x.c"}),
        (diff("a/x.c").replace("a/a/x.c", '"a/a/\\170.c"'), {"a/x.c"}),
        (MOVED, {"a/x.c", "a/z.c"}),
        (diff("a/x.c") + RUNS, {"a/x.c", "a/y.c"}),
        (SERIES + diff("a/new.c", "", "new\n"), {"a/x.c", "a/new.c"}),
    ],
    ids=["crlf", "date", "quoted", "moved", "mode", "series"],
)
def test_a_diff_names_what_it_changes(
    tmp_path: Path, tree: Path, text: str, changed: set[str]
) -> None:
    needs_git()
    (tmp_path / "fix.diff").write_bytes(text.encode())
    change = find_change(str(tmp_path / "fix.diff"))
    before = state(tree)
    change.make(tree)
    after = state(tree)
    assert change.files() == changed
    assert {
        one for one in before.keys() | after.keys() if before.get(one) != after.get(one)
    } == changed


def test_a_series_changes_a_file_again_and_again(tree: Path) -> None:
    needs_git()
    DiffChange("all", SERIES).make(tree)
    assert (tree / "a/x.c").read_text() == NEW.replace("one", "1")


@pytest.mark.parametrize("name", ["/etc/x", "../x.c", "a/../../x.c", "out/x.c"])
def test_a_diff_keeps_to_the_tree(tmp_path: Path, tree: Path, name: str) -> None:
    needs_git()
    for folder in (tmp_path, tmp_path / "elsewhere"):
        folder.mkdir(exist_ok=True)
        (folder / "x.c").write_text(OLD)
    (tree / "out").symlink_to("../elsewhere")
    for text in (diff(name), f"--- /dev/null\n+++ b/{name}.new\n@@ -0,0 +1 @@\n+new\n"):
        with pytest.raises(UsageError, match=r"the patch fix\.diff does not apply"):
            DiffChange("fix.diff", text).make(tree)
    assert (tmp_path / "x.c").read_text() == (tmp_path / "elsewhere/x.c").read_text() == OLD
    assert not list(tmp_path.rglob("*.new"))


def test_a_git_around_us_plays_no_part(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_git()
    subprocess.run(["git", "init", "-q", tree.parent], check=True)
    for name, text in (("COUNT", "1"), ("KEY_0", "apply.ignoreWhitespace"), ("VALUE_0", "change")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", text)
    (tree / "a/y.c").write_text(OLD.replace("one", "o  ne"))
    with pytest.raises(UsageError, match="does not apply"):
        DiffChange("fix.diff", diff("a/y.c").replace("one", "o ne")).make(tree)
    DiffChange("fix.diff", "diff --git a/a/x.c b/a/x.c\n" + diff("a/x.c")).make(tree)
    assert (tree / "a/x.c").read_text() == NEW, "its paths are not those of the repository"


@pytest.mark.parametrize(
    "text",
    [
        diff("a/x.c", "one\ntwo\nthree\n4\n", "one\n2\nthree\n4\n"),
        diff("a/none.c"),
        diff("a/x.c", NEW, OLD),
    ],
)
def test_a_diff_that_does_not_fit_changes_nothing(tree: Path, text: str) -> None:
    needs_git()
    with pytest.raises(UsageError, match=r"the patch fix\.diff does not apply"):
        DiffChange("fix.diff", diff("a/y.c") + text).make(tree)
    assert (tree / "a/y.c").read_text() == OLD
    assert sorted(one.name for one in (tree / "a").iterdir()) == ["x.c", "y.c"]


def test_another_file_is_no_patch(tmp_path: Path) -> None:
    path = tmp_path / "fix.diff"
    path.write_text("no diff\n")
    with pytest.raises(UsageError, match="neither a unified diff nor"):
        find_change(str(path))


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(UsageError, match="/proc/self/mem cannot be read: Input/output error"):
        find_change("/proc/self/mem")


def test_without_git_its_package_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(ToolMissing, match=r"apt-get install -y --no-install-recommends git"):
        DiffChange("fix.diff", diff("a/x.c")).make(tree)
