"""A trial's parts that need no kernel: what is built, what is played, and where."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kvmabi.errors import LabUnavailable
from kvmabi.lab import child
from kvmabi.lab.build.builder import MODULES, Builder
from kvmabi.lab.build.changes import PatchChange
from kvmabi.lab.build.config import flavour
from kvmabi.lab.build.kernel import Recipe
from kvmabi.lab.build.patch import Edit, Patch
from kvmabi.lab.build.sources import Source
from kvmabi.lab.build.workspace import Workspace
from kvmabi.lab.collector import CLEAN_LOG
from kvmabi.lab.mutation import trial
from kvmabi.lab.mutation.faults import Fault, Needs
from kvmabi.lab.mutation.trial import (
    AT_ONCE,
    GROUNDS,
    WHOLE,
    Ground,
    Site,
    matrix_options,
    modules_that_differ,
    own_workspace,
    targets,
)
from kvmabi.lab.mutation.verdict import Outcome
from kvmabi.results import CaseRecord, Disagreement, EndRecord, RunRecord, Verdict
from kvmabi.results.store import Result
from tests.unit.lab.test_kernels import bzimage

EDIT = Edit("virt/kvm/eventfd.c", "return 0;", "return 1;")
FAULT = Fault("one", 1, "", "s", Patch("one", "", (EDIT,)), look=("match-*", "pair-*"))


def test_kvm_alone_is_built_where_kvm_alone_is_changed() -> None:
    assert targets(["virt/kvm/eventfd.c", "arch/x86/kvm/x86.c"]) == MODULES
    assert targets(["virt/kvm/eventfd.c", "fs/eventfd.c"]) == WHOLE
    assert targets(["include/linux/kvm_host.h"]) == WHOLE


def test_the_whole_matrix_is_played_and_likely_places_first() -> None:
    options = matrix_options(FAULT, GROUNDS[Needs.SVM])
    assert options == ["--fail-fast", "--first=match-*", "--first=pair-*"]


def test_on_slow_ground_the_likely_places_are_all() -> None:
    options = matrix_options(FAULT, GROUNDS[Needs.DEBUG])
    assert options == ["--fail-fast", "--filter=match-*", "--filter=pair-*"]


def site(tmp_path: Path) -> Site:
    tree = tmp_path / "tree"
    path = tree / EDIT.file
    path.parent.mkdir(parents=True)
    path.write_text("int f(void)\n{\n\treturn 0;\n}\n")
    (tree / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 1\n")
    work = Workspace(tmp_path / "work")
    return Site(Source(tree, "a tree"), Ground("tiny", "svm"), work)


def test_a_second_campaign_is_kept_out_until_the_first_has_ended(tmp_path: Path) -> None:
    first = site(tmp_path)
    second = replace(first, ground=GROUNDS[Needs.VMX])
    with first.held():
        told = pytest.raises(LabUnavailable, match=r"another campaign is at work in .*--work")
        with told, second.held():
            pass
    with second.held():
        pass


def test_a_campaign_builds_where_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KVMABI_CACHE", str(tmp_path))
    source = Source(tmp_path / "tree", "a tree")
    recipe = Recipe(source, (), flavour("tiny"), 0, print, print)
    places = {own_workspace(source, ground).folder for ground in GROUNDS.values()}
    assert recipe.workspace().folder not in places
    assert len(places) == len({ground.kernel for ground in GROUNDS.values()})


def test_a_fault_is_in_the_copy_alone_and_gone_with_the_next(tmp_path: Path) -> None:
    one = site(tmp_path)
    one._plant(FAULT)
    ours, theirs = one.workspace.source / EDIT.file, one.source.tree / EDIT.file
    assert "return 1;" in ours.read_text()
    assert "return 0;" in theirs.read_text()
    planted_at = ours.stat().st_mtime_ns
    one._plant(None)
    assert "return 0;" in ours.read_text()
    assert ours.stat().st_mtime_ns > planted_at, "make goes by time"


def test_a_fault_goes_on_top_of_the_patch_of_its_ground(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = PatchChange(Patch("base", "", (Edit(EDIT.file, "return 0;", "return 0; /* base */"),)))
    monkeypatch.setattr(trial, "find_change", {"base": base}.__getitem__)
    one = replace(site(tmp_path), ground=Ground("tiny", "svm", patch="base"))
    ours = one.workspace.source / EDIT.file
    one._plant(FAULT)
    assert "return 1; /* base */" in ours.read_text()
    one._plant(None)
    assert "return 0; /* base */" in ours.read_text()
    assert "base" not in (one.source.tree / EDIT.file).read_text()


def test_a_fault_that_does_not_apply_is_invalid_and_leaves_the_copy_as_it_was(
    tmp_path: Path,
) -> None:
    edit = Edit(EDIT.file, "return 5;", "")
    one = site(tmp_path)
    ended = one.try_fault(Fault("odd", 1, "", "s", Patch("odd", "", (edit,))))
    assert ended.judgement.outcome is Outcome.INVALID
    assert "is there 0 times" in ended.judgement.text
    assert "return 0;" in (one.workspace.source / EDIT.file).read_text()


def test_an_image_with_a_fault_is_made_anew_for_the_next_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    monkeypatch.setattr(Builder, "build", lambda _, what: built.append(what))
    monkeypatch.setattr(Builder, "publish", lambda _, folder: folder)
    one = site(tmp_path)
    image = Edit("Makefile", "SUBLEVEL = 1", "SUBLEVEL = 2")
    for fault in (FAULT, Fault("wide", 1, "", "s", Patch("wide", "", (image,))), FAULT, FAULT):
        one._built(fault)
    assert built == [MODULES, WHOLE, WHOLE, MODULES]


def test_a_fault_that_does_not_build_is_told_with_its_error(tmp_path: Path) -> None:
    one = site(tmp_path)  # whose Makefile makes nothing
    one._plant(None)
    one.builder.out.mkdir(parents=True)
    ended = one.try_fault(FAULT)
    assert ended.judgement.outcome is Outcome.NOT_BUILT
    assert "make modules failed" in ended.judgement.text


@pytest.mark.parametrize(
    ("failing", "outcome", "runs"),
    [
        ([True, True], Outcome.KILLED, 2),
        ([True, False], Outcome.INVALID, 2),
        ([False], Outcome.SURVIVED, 1),
    ],
)
def test_what_the_log_alone_tells_counts_if_it_comes_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: list[bool],
    outcome: Outcome,
    runs: int,
) -> None:
    played: list[list[str]] = []

    def play(_self: Site, _start: list[str], options: list[str]) -> tuple[int, Result | None, str]:
        told = (
            (Disagreement("log", CLEAN_LOG, "nothing", "a stall"),) if failing[len(played)] else ()
        )
        played.append(options)
        case = CaseRecord("a", Verdict.FAIL if told else Verdict.PASS, 0, "", "", "")
        end = EndRecord(1, 1, {}, 1.0)
        run = RunRecord("matrix", "0", "2026-01-01T00:00:00+00:00", {}, {}, {}, 1)
        return bool(told), Result(run, (replace(case, disagreements=told),), end, 0), ""

    monkeypatch.setattr(Site, "_built", lambda _self, _fault: tmp_path)
    monkeypatch.setattr(Site, "_start", lambda _self, _kernel: [])
    monkeypatch.setattr(Site, "_matrix", play)
    assert site(tmp_path).try_fault(FAULT).judgement.outcome is outcome
    assert played == [matrix_options(FAULT, GROUNDS[Needs.SVM])] * runs


def test_without_the_fault_the_likely_places_are_played_on_the_sound_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[tuple[object, list[str]]] = []

    def play(_self: Site, start: object, options: list[str]) -> tuple[int, Result | None, str]:
        played.append((start, options))
        return 3, None, "kvmabi: no emulator\n"

    monkeypatch.setattr(Site, "_start", lambda _self, kernel: kernel)
    monkeypatch.setattr(Site, "_matrix", play)
    one = site(tmp_path)
    assert one.look_unchanged(FAULT).outcome is Outcome.INVALID
    assert played == [(one.sound, ["--filter=match-*", "--filter=pair-*"])]


def test_killing_cases_are_played_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[list[str]] = []

    def play(_self: Site, _start: list[str], options: list[str]) -> tuple[int, Result | None, str]:
        runs.append(options)
        ids = [option.removeprefix("--filter=") for option in options]
        cases = tuple(CaseRecord(one, Verdict.PASS, 0, "", "", "") for one in ids)
        run = RunRecord("matrix", "0", "2026-01-01T00:00:00+00:00", {}, {}, {}, len(ids))
        lost = len(runs) == 2
        return (4, None, "") if lost else (0, Result(run, cases, None, 0), "")

    monkeypatch.setattr(Site, "_start", lambda _self, _kernel: [])
    monkeypatch.setattr(Site, "_matrix", play)
    names = [f"case-{number}" for number in range(2 * AT_ONCE + 1)]
    verdicts = site(tmp_path).play_unchanged(names)
    assert [len(options) for options in runs] == [AT_ONCE, AT_ONCE, 1]
    assert list(verdicts) == names[:AT_ONCE] + names[-1:], "the second run was lost"


def kernel(folder: Path, image: bytes, **modules: bytes) -> Path:
    """A built tree, as far as the lab looks at it."""
    for name, data in {"arch/x86/boot/bzImage": image, **modules}.items():
        path = folder / (name if "/" in name else f"{name}.ko")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "modules.order").write_text("".join(f"{name}.o\n" for name in modules))
    return folder


def test_only_modules_that_differ_are_swapped(tmp_path: Path) -> None:
    image = bzimage()
    sound = kernel(tmp_path / "sound", image, kvm=b"1", other=b"2")
    faulty = kernel(tmp_path / "faulty", image, kvm=b"0", other=b"2")
    assert modules_that_differ(sound, faulty) == [faulty / "kvm.ko"]
    assert modules_that_differ(sound, sound) == []


def test_another_image_needs_a_boot(tmp_path: Path) -> None:
    sound = kernel(tmp_path / "sound", bzimage(), kvm=b"1")
    faulty = kernel(tmp_path / "faulty", bzimage() + b"x", kvm=b"1")
    assert modules_that_differ(sound, faulty) is None


def test_what_the_lab_says_and_how_it_ends_is_kept(tmp_path: Path, monkeypatch) -> None:
    saying = [sys.executable, "-c", "import sys; sys.stderr.write('no KVM'); sys.exit(3)"]
    monkeypatch.setattr(child, "command", lambda _words: saying)
    place = site(tmp_path)
    place.workspace.folder.mkdir(parents=True, exist_ok=True)
    assert place._matrix([], []) == (3, None, "no KVM")
