from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from kvmabi.errors import UsageError
from kvmabi.lab.build.listing import content_of, listing, names
from kvmabi.lab.build.workspace import Workspace

LONG_AGO = 1_000_000_000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "a").mkdir(parents=True)
    for name in ("a/one.c", "a/two.c", "run.sh"):
        (folder / name).write_text(f"{name} at first\n")
        os.utime(folder / name, (LONG_AGO, LONG_AGO))
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("a/one.c")
    (folder / "a/up").symlink_to("../a")
    return folder


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    (tmp_path / "space").mkdir()
    return Workspace(tmp_path / "space")


def put(name: str, text: str) -> Callable[[Path, set[str]], None]:
    """A change that gives a file another content."""

    def change(source: Path, written: set[str]) -> None:
        written.add(name)
        (source / name).unlink(missing_ok=True)
        (source / name).write_text(text)

    return change


def leave(_source: Path, _written: set[str]) -> None:
    """A change that changes nothing."""


def update(
    space: Workspace, tree: Path, change: Callable[[Path, set[str]], object] = leave
) -> None:
    space.update(tree, listing(tree, space.known()), change)


def mtime(path: Path) -> float:
    return path.stat().st_mtime


def git(tree: Path, *words: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", tree, *identity, *words], check=True, capture_output=True)


def test_a_listing_names_content(tree: Path) -> None:
    files = listing(tree, {})
    assert list(files) == ["a/one.c", "a/two.c", "a/up", "link", "run.sh"]
    assert files["link"].content == "-> a/one.c"
    assert files["run.sh"].content.endswith("x")
    assert not files["a/one.c"].content.endswith("x")


def test_a_listing_s_content_has_nothing_to_do_with_times(tree: Path) -> None:
    first = content_of(listing(tree, {}))
    (tree / "a/one.c").touch()
    assert content_of(listing(tree, {})) == first
    (tree / "run.sh").chmod(0o644)
    second = content_of(listing(tree, {}))
    (tree / "a/one.c").write_text("other\n")
    third = content_of(listing(tree, {}))
    (tree / "a/one.c").rename(tree / "a/three.c")
    assert len({first, second, third, content_of(listing(tree, {}))}) == 4


def test_a_file_with_a_known_stamp_is_not_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = listing(tree, {})
    read: list[Path] = []
    monkeypatch.setattr("kvmabi.lab.build.listing._sha256", lambda path: read.append(path) or "-")
    assert listing(tree, known) == known
    assert read == []
    (tree / "a/two.c").touch()
    listing(tree, known)
    assert read == [tree / "a/two.c"]


def test_a_file_that_can_be_run_from_now_on_is_another(tree: Path) -> None:
    known = listing(tree, {})
    (tree / "a/two.c").chmod(0o755)
    assert listing(tree, known)["a/two.c"].content == known["a/two.c"].content + "x"


def test_what_git_ignores_is_left_out(tree: Path) -> None:
    git(tree, "init", "-q")
    (tree / ".gitignore").write_text("*.o\n.config\n")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "x")
    for name in ("a/one.o", ".config", "a/new.c"):
        (tree / name).write_text("x")
    (tree / "a/two.c").unlink()
    assert list(listing(tree, {})) == [
        ".gitignore", "a/new.c", "a/one.c", "a/up", "link", "run.sh"
    ]  # fmt: skip
    assert ".git/HEAD" not in names(tree)


def test_a_git_folder_that_is_none_is_told(tree: Path) -> None:
    (tree / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(UsageError, match="git cannot list"):
        listing(tree, {})


def test_a_copy_is_made_of_links(space: Workspace, tree: Path) -> None:
    update(space, tree)
    assert (space.source / "a/one.c").samefile(tree / "a/one.c")
    assert (space.source / "link").readlink() == Path("a/one.c")
    assert (space.source / "a/up").readlink() == Path("../a")
    assert space.known() == listing(tree, {})


def test_without_links_a_copy_is_made(
    space: Workspace, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    update(space, tree)
    assert not (space.source / "run.sh").samefile(tree / "run.sh")
    assert (space.source / "run.sh").read_text() == "run.sh at first\n"
    assert os.access(space.source / "run.sh", os.X_OK)


def test_a_change_leaves_the_tree_alone(space: Workspace, tree: Path) -> None:
    update(space, tree, put("a/one.c", "changed\n"))
    assert (tree / "a/one.c").read_text() == "a/one.c at first\n"
    assert (space.source / "a/one.c").read_text() == "changed\n"
    assert (space.source / "a/two.c").samefile(tree / "a/two.c")


def test_a_change_that_stays_keeps_its_time(space: Workspace, tree: Path) -> None:
    update(space, tree, put("a/one.c", "changed\n"))
    os.utime(space.source / "a/one.c", (LONG_AGO + 5, LONG_AGO + 5))
    update(space, tree, put("a/one.c", "changed\n"))
    assert mtime(space.source / "a/one.c") == LONG_AGO + 5
    update(space, tree, put("a/one.c", "changed again\n"))
    assert mtime(space.source / "a/one.c") > LONG_AGO + 5


def test_a_change_that_goes_leaves_a_new_time(space: Workspace, tree: Path) -> None:
    """Else make would keep what it has built of the changed file."""
    update(space, tree, put("a/one.c", "changed\n"))
    update(space, tree)
    assert (space.source / "a/one.c").read_text() == "a/one.c at first\n"
    assert mtime(space.source / "a/one.c") > LONG_AGO
    assert mtime(space.source / "a/two.c") == LONG_AGO


def test_what_a_change_has_made_goes_with_it(space: Workspace, tree: Path) -> None:
    update(space, tree, put("a/new.c", "new\n"))
    assert (space.source / "a/new.c").is_file()
    update(space, tree)
    assert not (space.source / "a/new.c").exists()


def test_what_a_change_has_removed_comes_back(space: Workspace, tree: Path) -> None:
    def remove(source: Path, written: set[str]) -> None:
        written.add("a/one.c")
        (source / "a/one.c").unlink()

    update(space, tree, remove)
    update(space, tree)
    assert (space.source / "a/one.c").is_file()


def test_the_copy_follows_the_tree(space: Workspace, tree: Path) -> None:
    update(space, tree)
    (tree / "a/one.c").unlink()
    (tree / "run.sh").unlink()
    (tree / "run.sh").write_text("other\n")
    os.utime(tree / "run.sh", (LONG_AGO - 9, LONG_AGO - 9))
    (tree / "new.c").write_text("new\n")
    update(space, tree)
    assert not (space.source / "a/one.c").exists()
    assert (space.source / "run.sh").read_text() == "other\n"
    assert mtime(space.source / "run.sh") > LONG_AGO, "an older file with other content is new"
    assert (space.source / "new.c").read_text() == "new\n"


def test_a_file_may_become_a_folder_and_back(space: Workspace, tree: Path) -> None:
    update(space, tree)
    (tree / "run.sh").unlink()
    (tree / "run.sh").mkdir()
    (tree / "run.sh/x").write_text("x")
    update(space, tree)
    assert (space.source / "run.sh/x").read_text() == "x"
    (tree / "run.sh/x").unlink()
    (tree / "run.sh").rmdir()
    (tree / "run.sh").write_text("y")
    update(space, tree)
    assert (space.source / "run.sh").read_text() == "y"


def test_what_only_got_another_time_is_left(space: Workspace, tree: Path) -> None:
    update(space, tree)
    inode = (space.source / "a/one.c").stat().st_ino
    (tree / "a/one.c").rename(tree / "a/kept")
    (tree / "a/one.c").write_text((tree / "a/kept").read_text())
    (tree / "a/kept").unlink()
    update(space, tree)
    assert (space.source / "a/one.c").stat().st_ino == inode
    assert mtime(space.source / "a/one.c") == LONG_AGO


@pytest.mark.parametrize(
    "name", ["{}/mine", "{}/mine/x", "../../mine", "../../mine/x", "out/x", "./run.sh", "a"]
)
def test_a_path_that_is_no_file_of_the_copy_does_no_harm(
    space: Workspace, tree: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/x").write_text("x")
    (tree / "out").symlink_to(tmp_path / "mine")
    update(space, tree)
    update(space, tree, lambda _source, written: written.add(name.format(tmp_path)))
    update(space, tree)
    assert (tmp_path / "mine/x").read_text() == "x"
    assert listing(space.source, {}).keys() == listing(tree, {}).keys()


def test_a_folder_that_a_change_makes_a_link_comes_back(
    space: Workspace, tree: Path, tmp_path: Path
) -> None:
    def link(source: Path, written: set[str]) -> None:
        written |= {"a/one.c", "a/two.c", "a/up", "a"}
        shutil.rmtree(source / "a")
        (source / "a").symlink_to(tmp_path / "mine")

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/one.c").write_text("x")
    update(space, tree, link)
    update(space, tree)
    assert (space.source / "a/one.c").read_text() == "a/one.c at first\n"
    assert not (space.source / "a").is_symlink()
    assert (tmp_path / "mine/one.c").read_text() == "x"


def test_a_change_that_fails_halfway_is_undone_the_next_time(space: Workspace, tree: Path) -> None:
    def fail(source: Path, written: set[str]) -> None:
        put("a/one.c", "half\n")(source, written)
        raise UsageError("no")

    with pytest.raises(UsageError):
        update(space, tree, fail)
    update(space, tree)
    assert (space.source / "a/one.c").read_text() == "a/one.c at first\n"
    assert space.out.parent.is_dir()


def test_a_file_that_went_after_it_was_listed_is_named(space: Workspace, tree: Path) -> None:
    files = listing(tree, {})
    (tree / "a/two.c").unlink()
    with pytest.raises(UsageError, match=r"cannot copy .*/tree/a/two\.c: No such file"):
        space.update(tree, files, leave)
    update(space, tree)
    assert listing(space.source, {}).keys() == listing(tree, {}).keys()


def test_a_copy_that_was_left_by_half_is_made_anew(
    space: Workspace, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update(space, tree)
    space.out.mkdir()
    (space.out / "old.o").write_text("old")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tree / "a/one.c").write_text("other, longer\n")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("kvmabi.lab.build.workspace._bring", stop)
        update(space, tree)
    assert space.known() == {}
    update(space, tree)
    assert not (space.out / "old.o").exists(), "nobody knows what it was built of"
    assert (space.source / "a/one.c").read_text() == "other, longer\n"


def test_a_second_build_waits(space: Workspace) -> None:
    waited: list[str] = []
    with space.locked(lambda: waited.append("first")):
        pass
    assert waited == []
    # flock belongs to the open file: a second opening in this process is another holder
    with space.locked(lambda: waited.append("first")):

        class Enough(Exception):
            pass

        def stop() -> None:
            raise Enough

        with pytest.raises(Enough), space.locked(stop):
            pass


def test_a_workspace_is_removed_unless_a_build_is_at_work_there(
    space: Workspace, tree: Path
) -> None:
    update(space, tree)
    with space.locked(lambda: None):
        space.remove()
        assert space.known()
    space.remove()
    assert list(space.folder.parent.iterdir()) == [tree]


def test_who_waited_for_a_workspace_that_was_removed_gets_a_new_one(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, held = fcntl.flock, []

    def remove_before(lock: IO[str], kind: int) -> None:
        if not held:
            held.append(lock)
            shutil.rmtree(space.folder)
        real(lock, kind)

    monkeypatch.setattr("kvmabi.lab.build.workspace.fcntl.flock", remove_before)
    with space.locked(lambda: None):
        assert (space.folder / "lock").is_file()
        space.remove()
        assert (space.folder / "lock").is_file(), "it is the new one that is locked"
