"""Sets are replaced whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmabi.arch import MIPS, X86
from kvmabi.errors import HeaderError, UsageError
from kvmabi.header import SourceFile, parse
from kvmabi.headersets import store as module
from kvmabi.headersets.collect import collect
from kvmabi.headersets.sources import open_source
from kvmabi.headersets.store import HeaderSet, names, save


def import_tree(tree: Path, store: Path, name: str = "mine", overlay: str = "") -> HeaderSet:
    with open_source(str(tree), store) as source:
        overlays = [SourceFile("more.h", overlay)] if overlay else []
        return save(collect(source), source.origin, store, name, overlays)


def left_over(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if "@" in path.name)


def test_a_set_knows_its_origin_version_and_checksums(tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    found = import_tree(tree, store, overlay="#define MORE 1\n")
    assert names(store) == ["mine"]
    assert (found.version, found.origin.kind, found.origin.name) == (
        "6.9.3",
        "kernel tree",
        "linux",
    )
    assert len(found.sha256["common/linux/kvm.h"]) == 64
    header = parse(found.tree(X86), overlays=found.overlays())
    assert {"KVM_CAP_ONE", "MORE"} <= set(header.macros)
    with pytest.raises(UsageError, match=r"has no mips: asm/kvm\.h is not there"):
        found.tree(MIPS)


def test_the_same_source_gives_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    one = import_tree(tree, tmp_path / "a")
    two = import_tree(tree, tmp_path / "b")
    assert (one.folder / "source.json").read_bytes() == (two.folder / "source.json").read_bytes()


def test_a_new_import_replaces_all_of_the_old(tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    import_tree(tree, store, overlay="#define MORE 1\n")
    (tree / "include/uapi/linux/kvm.h").write_text("#include <asm/kvm.h>\n#define NEW 1\n")
    found = import_tree(tree, store)
    assert found.overlays() == ()
    assert not any("types.h" in path for path in found.sha256)
    assert "NEW" in parse(found.tree(X86)).macros
    assert left_over(store) == [found.folder.name]


@pytest.mark.parametrize("text", ["#if 1\n", "struct {\n", "#include <linux/nowhere.h>\n"])
def test_headers_that_cannot_be_read_leave_the_old_set(
    tree: Path, tmp_path: Path, text: str
) -> None:
    store = tmp_path / "store"
    old = import_tree(tree, store)
    (tree / "include/uapi/linux/kvm.h").write_text(text)
    with pytest.raises(HeaderError):
        import_tree(tree, store)
    assert HeaderSet.load(store / "mine") == old
    assert left_over(store) == [old.folder.name]


@pytest.mark.parametrize("step", ["_write", "check", "_swap"])
def test_an_interrupt_leaves_the_old_set(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store = tmp_path / "store"
    old = import_tree(tree, store)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_tree(tree, store)
    assert HeaderSet.load(store / "mine") == old
    assert left_over(store) == [old.folder.name]


def test_a_killed_import_leaves_the_old_set_and_the_next_clears_up(
    tree: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    old = import_tree(tree, store)
    (store / ".mine@killed" / "common").mkdir(parents=True)
    assert HeaderSet.load(store / "mine") == old
    new = import_tree(tree, store)
    assert left_over(store) == [new.folder.name]


def test_a_set_that_was_changed_is_refused(tree: Path, tmp_path: Path) -> None:
    found = import_tree(tree, tmp_path / "store")
    (found.folder / "common/linux/kvm.h").write_text("#define KVM_CAP_ONE 2\n")
    with pytest.raises(HeaderError, match=r"changed since its import: common/linux/kvm\.h"):
        HeaderSet.load(found.folder)


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b"])
def test_names_that_lead_elsewhere_are_refused(tree: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a set"):
        import_tree(tree, tmp_path / "store", name)


def test_what_is_no_set_is_not_replaced(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="in the way"):
        import_tree(tree, tmp_path)
