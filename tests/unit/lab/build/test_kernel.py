from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvmabi.cli import main
from kvmabi.errors import BuildFailed, UsageError
from kvmabi.lab.build import kernel, sources, tools
from kvmabi.lab.build.changes import PatchChange, find_change
from kvmabi.lab.build.config import flavour
from kvmabi.lab.build.patch import parse_patch
from kvmabi.lab.kernels import find_kernel

LONG_AGO = 1_000_000_000
COMMENT = {"file": "image.c", "find": "(fine)", "replace": "(fine, changed)"}


@pytest.fixture(autouse=True)
def tools_of_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("strip") is None:
        pytest.skip("strip is not installed (binutils)")
    monkeypatch.setattr(tools, "check", lambda _kind: None)
    monkeypatch.setattr(tools, "versions", lambda _kind: "gcc: 12.2")


class Heard:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.made: list[str] = []

    def recipe(self, tree: Path, **fields: object) -> kernel.Recipe:
        one = kernel.Recipe(
            sources.find_source(str(tree), self.said.append),
            (),
            flavour("bare"),
            1,
            self.said.append,
            self.made.append,
        )
        return replace(one, **fields)  # type: ignore[arg-type]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def needs_git() -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")


def change(**fields: str) -> PatchChange:
    return PatchChange(parse_patch({"name": "mine", "edit": [{**COMMENT, **fields}]}, "mine"))


def test_a_kernel_is_built_and_kept(source: Path, heard: Heard) -> None:
    folder = kernel.build(heard.recipe(source))
    assert find_kernel(str(folder)).release == "6.1.9-bare"
    about = json.loads((folder / kernel.ABOUT).read_text())
    assert about["source"] == f"the tree {source}"
    assert about["version"] == "6.1.9"
    assert about["flavour"] == "bare"


def test_what_was_built_is_found_again(source: Path, heard: Heard) -> None:
    first = kernel.build(heard.recipe(source))
    (source / "image.c").touch()
    del heard.made[:]
    assert kernel.build(heard.recipe(source)) == first
    assert heard.made == []
    assert heard.said[-1] == "nothing changed since it was built"


def test_a_changed_file_alone_is_built_again(source: Path, heard: Heard) -> None:
    first = kernel.build(heard.recipe(source))
    data = (source / "image.c").read_bytes()
    (source / "image.c").write_bytes(data.replace(b"6.1.9", b"6.1.8"))
    del heard.made[:]
    second = kernel.build(heard.recipe(source))
    assert second != first
    assert find_kernel(str(second)).release == "6.1.8-bare"
    assert find_kernel(str(first)).release == "6.1.9-bare", "the first stays as it was"
    assert any("cp image.c" in line for line in heard.made)
    assert not any("kvm.bin" in line for line in heard.made)


def test_a_change_is_of_the_kernel_and_not_of_the_source(source: Path, heard: Heard) -> None:
    plain = kernel.build(heard.recipe(source))
    changed = kernel.build(heard.recipe(source, changes=(change(),)))
    assert b"(fine, changed)" in (changed / "arch/x86/boot/bzImage").read_bytes()
    assert b"(fine, changed)" not in (source / "image.c").read_bytes()
    assert json.loads((changed / kernel.ABOUT).read_text())["patches"] == ["mine"]
    assert kernel.build(heard.recipe(source)) == plain


def test_a_kernel_without_the_change_is_built_anew_after_one_with_it(
    source: Path, heard: Heard
) -> None:
    kernel.build(heard.recipe(source, changes=(change(),)))
    plain = kernel.build(heard.recipe(source))
    assert b"(fine, changed)" not in (plain / "arch/x86/boot/bzImage").read_bytes()


def test_a_kernel_without_a_diff_is_built_anew_after_one_with_it(
    source: Path, heard: Heard
) -> None:
    needs_git()
    (source / "image.c").write_text("fine\n")
    diff = source.parent / "fix.diff"
    diff.write_bytes(b"--- a/image.c\r\n+++ b/image.c\r\n@@ -1 +1 @@\r\n-fine\r\n+finer\r\n")
    changed = kernel.build(heard.recipe(source, changes=(find_change(str(diff)),)))
    assert (changed / "arch/x86/boot/bzImage").read_text() == "finer\n"
    plain = kernel.build(heard.recipe(source))
    assert (plain / "arch/x86/boot/bzImage").read_text() == "fine\n"


def test_another_encoding_than_utf_8_does_no_harm(source: Path, heard: Heard) -> None:
    needs_git()
    (source / "image.c").write_text("fine\n")
    (source / os.fsdecode(b"\xe9.txt")).write_text("")
    diff = source.parent / "fix.diff"
    diff.write_bytes(b"Andr\xe9\n--- a/image.c\n+++ b/image.c\n@@ -1 +1 @@\n-fine\n+fine\xe9\n")
    for _ in range(2):
        folder = kernel.build(heard.recipe(source, changes=(find_change(str(diff)),)))
        assert (folder / "arch/x86/boot/bzImage").read_bytes() == b"fine\xe9\n"


@pytest.mark.parametrize(
    "fields",
    [
        {"flavour": flavour("tiny")},
        {"changes": (change(),)},
        {"changes": (change(replace="(fine again)"),)},
    ],
)
def test_each_ingredient_has_a_part_in_the_name(
    source: Path, heard: Heard, fields: dict[str, object]
) -> None:
    one = heard.recipe(source)
    other = replace(one, **fields)  # type: ignore[arg-type]
    assert one.key(one.files({})) != other.key(other.files({}))


def test_another_compiler_is_another_kernel(
    source: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = heard.recipe(source)
    key = one.key(one.files({}))
    monkeypatch.setattr(tools, "versions", lambda _kind: "gcc: 13.1")
    assert one.key(one.files({})) != key


def test_a_change_that_does_not_fit_costs_no_build(source: Path, heard: Heard) -> None:
    kernel.build(heard.recipe(source))
    with pytest.raises(UsageError, match="the patch mine, edit 1"):
        kernel.build(heard.recipe(source, changes=(change(find="nothing"),)))
    del heard.made[:]
    kernel.build(heard.recipe(source, changes=(change(),)))
    assert not any("kvm.bin" in line for line in heard.made)


def test_what_does_not_compile_is_no_kernel(source: Path, heard: Heard) -> None:
    bad = heard.recipe(source, changes=(change(replace="(bad)"),))
    for _ in range(2):
        with pytest.raises(BuildFailed, match="error: not fine"):
            kernel.build(bad)
    assert kernel.build(heard.recipe(source)).is_dir()


def test_a_source_that_changes_while_it_is_built_is_no_kernel(source: Path, heard: Heard) -> None:
    def write(line: str) -> None:
        if line.startswith("ARCH="):
            (source / "image.c").write_text("fine, for now\n")

    with pytest.raises(UsageError, match=r"changed while it was built \(image\.c\): start again"):
        kernel.build(heard.recipe(source, progress=write))
    (source / "image.c").write_text("fine\n")
    folder = kernel.build(heard.recipe(source))
    assert (folder / "arch/x86/boot/bzImage").read_text() == "fine\n"


def test_what_changed_and_came_back_while_it_was_built_is_built_again(
    source: Path, heard: Heard
) -> None:
    image = source / "image.c"
    image.write_text("fine\n")

    def write(line: str) -> None:
        if line.startswith("ARCH="):
            image.write_text("fine, for now\n")
        if "kvm.bin" in line:  # image.c is built
            image.write_text("fine\n")
            os.utime(image, (LONG_AGO, LONG_AGO))

    with pytest.raises(UsageError, match="changed while it was built"):
        kernel.build(heard.recipe(source, progress=write))
    folder = kernel.build(heard.recipe(source))
    assert (folder / "arch/x86/boot/bzImage").read_text() == "fine\n"


def test_two_trees_of_the_same_content_may_be_built_at_once(source: Path, heard: Heard) -> None:
    other = source.with_name("other")
    shutil.copytree(source, other)
    found: list[Path] = []

    def build_the_other(line: str) -> None:
        if line.startswith("ARCH="):
            found.append(kernel.build(heard.recipe(other)))

    assert kernel.build(heard.recipe(source, progress=build_the_other)) == found[0]


def test_a_workspace_where_a_build_is_at_work_is_not_swept_away(
    source: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "KEPT_WORKSPACES", 0)
    other = source.with_name("other")
    shutil.copytree(source, other)
    busy = heard.recipe(other).workspace()
    with busy.locked(lambda: None):
        kernel.build(heard.recipe(source))
        assert busy.folder.is_dir()
    (source / "image.c").write_text("fine\n")
    kernel.build(heard.recipe(source))
    assert not busy.folder.exists()


def test_a_new_file_does_not_stop_a_build(source: Path, heard: Heard) -> None:
    def write(_line: str) -> None:
        (source / ".image.c.swp").touch()

    assert kernel.build(heard.recipe(source, progress=write)).is_dir()


def test_a_source_that_was_built_in_place_is_refused(source: Path, heard: Heard) -> None:
    (source / ".config").write_text("")
    with pytest.raises(UsageError, match="mrproper"):
        kernel.build(heard.recipe(source))


def test_the_verb_prints_the_folder(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "kernel"
    words = ["lab", "build", str(source), "--flavour", "bare", "--out", str(out)]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert captured.err == ""
    assert find_kernel(str(out)).release == "6.1.9-bare"
    assert main(words) == 0, "a kernel of ours may be replaced"


def test_a_copy_that_is_stopped_leaves_what_was_there(
    source: Path, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "image.c").write_text("fine\n")
    out = kernel.build(heard.recipe(source), tmp_path / "out")
    (out / "notes").write_text("mine")
    (source / "image.c").write_text("finer\n")

    def stop(*args: Any, **options: Any) -> None:
        patched.undo()
        shutil.copytree(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "copytree", stop)
        kernel.build(heard.recipe(source), out)
    assert (out / "arch/x86/boot/bzImage").read_text() == "fine\n"
    kernel.build(heard.recipe(source), out)
    assert (out / "arch/x86/boot/bzImage").read_text() == "finer\n"
    assert (out / "notes").read_text() == "mine"
    assert not list(out.glob(".new-*"))


def test_a_kernel_that_cannot_be_copied_is_named(
    source: Path, tmp_path: Path, heard: Heard
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UsageError, match=r"cannot copy the kernel .*/built/\w+ to .*/file/out: Not"
    ):
        kernel.build(heard.recipe(source), tmp_path / "file/out")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nowhere"], 2, "is no kernel source"),
        (["SOURCE", "--patch", "nothing"], 2, "no patch 'nothing'"),
        (["SOURCE", "--jobs", "0"], 2, "at least one"),
        (["SOURCE", "--out", "SOURCE"], 2, "something else than a kernel of ours"),
        (["SOURCE", "--out", "SOURCE/Makefile"], 2, "no folder"),
        (["SOURCE", "--patch", "BAD", "--out", "SOURCE/Makefile/x"], 2, "nothing can be written"),
        (["SOURCE", "--patch", "BAD", "--out", "/proc/x"], 2, "nothing can be written"),
        (["SOURCE", "--patch", "BAD"], 4, "error: not fine"),
    ],
)
def test_what_goes_wrong_has_its_exit_code(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    says: str,
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "bad"\n[[edit]]\nfile = "image.c"\nfind = "fine"\nreplace = "wrong"\n')
    filled = [one.replace("SOURCE", str(source)).replace("BAD", str(bad)) for one in words]
    assert main(["lab", "build", *filled, "--flavour", "bare"]) == code
    assert says in capsys.readouterr().err
