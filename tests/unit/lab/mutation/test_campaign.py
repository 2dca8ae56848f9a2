"""Many faults: what ended is kept, and a kill counts only where its case passes without the fault.

The sites here are in memory; what a kernel does with a fault is given.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kvmabi import ioeventfd
from kvmabi.errors import ExitCode, ResultError
from kvmabi.lab.build.patch import Edit, Patch
from kvmabi.lab.build.sources import Source
from kvmabi.lab.mutation import record
from kvmabi.lab.mutation.campaign import Campaign
from kvmabi.lab.mutation.faults import Fault, Needs
from kvmabi.lab.mutation.record import Basis, Row, exit_code
from kvmabi.lab.mutation.report import REMEDIES, left_out, listing, table
from kvmabi.lab.mutation.trial import Ended
from kvmabi.lab.mutation.verdict import Judgement, Outcome
from kvmabi.results import Verdict

BASIS = Basis("6.1.1", "a tree", "cases")
KILLED = Judgement(Outcome.KILLED, "some-case", (4,), "no exit", 7)
SURVIVED = Judgement(Outcome.SURVIVED, executed=9)


def fault(name: str, **fields: object) -> Fault:
    patch = Patch(name, "", (Edit("virt/kvm/eventfd.c", name, ""),))
    return Fault(**{"promise": 4, "about": "", "subject": "s", "patch": patch, **fields}, name=name)


class FakeSite:
    """A site where it is known what becomes of each fault, and which cases fail anyway."""

    def __init__(self, judgements: dict[str, Judgement], failing: Sequence[str] = ()) -> None:
        self.judgements = judgements
        self.failing = failing
        self.tried: list[str] = []
        self.prepared = 0
        self.workspace = "here"
        self.holds = 0
        self.looked: list[str] = []
        self.unchanged = SURVIVED

    @contextmanager
    def held(self) -> Iterator[None]:
        assert not self.holds, "who holds a place twice waits for itself"
        self.holds += 1
        yield
        self.holds -= 1

    def prepare(self) -> None:
        assert self.holds
        self.prepared += 1

    def try_fault(self, one: Fault) -> Ended:
        assert self.holds
        self.tried.append(one.name)
        return Ended(self.judgements[one.name], 1.0, 2.0)

    def look_unchanged(self, one: Fault) -> Judgement:
        assert self.holds
        self.looked.append(one.name)
        return self.unchanged

    def play_unchanged(self, cases: Sequence[str]) -> dict[str, Verdict]:
        assert self.holds
        return {one: Verdict.FAIL if one in self.failing else Verdict.PASS for one in cases}


@pytest.fixture
def run(tmp_path: Path):
    def run(site: FakeSite, *faults: Fault, basis: Basis = BASIS, again: bool = False):
        said: list[str] = []
        campaign = Campaign(lambda _: site, basis, tmp_path / "faults.jsonl", said.append)  # type: ignore[arg-type, return-value]
        return campaign.run(faults, again=again)

    return run


def test_what_ended_is_not_tried_again(run) -> None:
    site = FakeSite({"a": KILLED, "b": SURVIVED})
    first = run(site, fault("a"), fault("b"))
    assert site.tried == ["a", "b"]
    assert run(site, fault("a"), fault("b")) == first
    assert site.tried == ["a", "b"]
    run(site, fault("a"), again=True)
    assert site.tried == ["a", "b", "a"]


def test_a_place_is_held_once_and_let_go_at_the_end(run) -> None:
    site = FakeSite({"a": KILLED, "b": KILLED})
    run(site, fault("a"), fault("b", needs=Needs.VMX))
    assert (site.prepared, site.holds) == (2, 0)


def test_on_another_basis_or_as_another_fault_it_is_tried(run) -> None:
    site = FakeSite({"a": KILLED})
    run(site, fault("a"))
    for other in ("source", "tree", "cases"):
        run(site, fault("a"), basis=replace(BASIS, **{other: "another"}))
    run(site, fault("a", look=("match-*",)))
    assert site.tried == ["a"] * 5


def test_a_basis_is_another_for_another_tree_of_the_same_version(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 1\n")
    first = Basis.of(Source(tmp_path, "a tree"))
    (tmp_path / "one.c").write_text("int one;\n")
    second = Basis.of(Source(tmp_path, "a tree"))
    assert (first.source, second.source) == ("6.1.1", "6.1.1")
    assert first.tree != second.tree
    assert Basis.of(Source(tmp_path, "an archive", "its digest")).tree == "its digest"


def test_a_basis_is_another_for_other_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 1\n")
    package = tmp_path / "package"
    (package / "cases").mkdir(parents=True)
    monkeypatch.setattr(ioeventfd, "__path__", [str(package)])
    source = Source(tmp_path, "an archive", "its digest")
    digests = set()
    for text in ("one = 1\n", "one = 2\n"):
        (package / "cases/some.py").write_text(text)
        digests.add(Basis.of(source).cases)
    assert len(digests) == 2


@pytest.mark.parametrize("outcome", [Outcome.INVALID, Outcome.NOT_BUILT])
def test_what_came_to_nothing_is_tried_again(run, outcome: Outcome) -> None:
    site = FakeSite({"a": Judgement(outcome, text="odd")})
    run(site, fault("a"))
    run(site, fault("a"))
    assert site.tried == ["a", "a"]


def test_a_kill_by_a_case_that_fails_anyway_is_none(run) -> None:
    site = FakeSite({"a": KILLED, "b": Judgement(Outcome.KILLED, "other", (4,))}, ["some-case"])
    rows = dict(run(site, fault("a"), fault("b")))
    assert [row.outcome for row in rows.values()] == [Outcome.INVALID, Outcome.KILLED]
    assert exit_code(list(rows.items())) is ExitCode.HARNESS_FAILED


def test_a_kill_without_a_case_is_one_if_nothing_happens_without_the_fault(run) -> None:
    site = FakeSite({"a": Judgement(Outcome.KILLED, text="lost: a stall"), "b": KILLED})
    rows = dict(run(site, fault("a"), fault("b")))
    assert [row.outcome for row in rows.values()] == [Outcome.KILLED, Outcome.KILLED]
    assert site.looked == ["a"]
    site.unchanged = Judgement(Outcome.KILLED, text="lost: another stall")
    (_, row), _ = run(site, fault("a"), fault("b"))
    assert row.outcome is Outcome.INVALID
    assert row.text == "lost: a stall without the fault: lost: another stall"


def test_what_nobody_can_see_here_is_not_run(run) -> None:
    site = FakeSite({})
    ended = run(site, fault("a", needs=Needs.RACE))
    assert [row.outcome for _, row in ended] == [Outcome.NOT_RUN]
    assert site.prepared == 0
    assert exit_code(ended) is ExitCode.NOTHING_CHECKED
    assert "needs race" in table(ended)


def test_what_was_left_out_is_counted_by_what_it_needs(run) -> None:
    names = {"a": Needs.SVM, "b": Needs.VMX, "c": Needs.RACE, "d": Needs.VMX}
    faults = [fault(name, needs=needs) for name, needs in names.items()]
    ended = run(FakeSite({"a": KILLED}), faults[0], faults[2])
    assert left_out(faults, ended).splitlines() == [
        f"2 left out, as what they need is {REMEDIES[Needs.VMX]}",
        f"1 left out, as what they need is {REMEDIES[Needs.RACE]}",
    ]
    assert left_out(faults[:1], ended) == ""
    assert REMEDIES.keys() == set(Needs)


def test_where_nothing_is_left_to_try_that_is_an_error_with_the_reason() -> None:
    tool = Path(__file__).parents[4] / "tools/mutate_kernel.py"
    done = subprocess.run(
        [sys.executable, tool, "--filter", "races"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert "3 left out, as what they need is threads that race" in done.stderr


@pytest.mark.parametrize(
    ("fields", "judgement", "code"),
    [
        ({}, KILLED, ExitCode.KEPT),
        ({}, SURVIVED, ExitCode.BROKEN),
        ({"unseen": "no room"}, SURVIVED, ExitCode.KEPT),
        ({"unseen": "no room"}, KILLED, ExitCode.KEPT),
        ({"harmless": "the same"}, SURVIVED, ExitCode.KEPT),
        ({"harmless": "the same"}, KILLED, ExitCode.BROKEN),
        ({}, Judgement(Outcome.NOT_BUILT), ExitCode.HARNESS_FAILED),
        ({}, Judgement(Outcome.INVALID), ExitCode.HARNESS_FAILED),
    ],
)
def test_green_is_every_fault_killed_and_every_control_alive(
    run, fields: dict[str, object], judgement: Judgement, code: ExitCode
) -> None:
    one = fault("a", **fields)
    ended = run(FakeSite({"a": judgement}), one)
    assert exit_code(ended) is code
    assert ("not as it should be" in table(ended).splitlines()[0]) is (code is not ExitCode.KEPT)


@pytest.mark.parametrize(
    ("promises", "marked"),
    [((4,), False), ((2, 4), False), ((2,), True), ((0,), False), ((), False)],
)
def test_a_kill_that_another_promise_explains_is_marked(
    run, promises: tuple[int, ...], marked: bool
) -> None:
    ended = run(FakeSite({"a": Judgement(Outcome.KILLED, "case", promises, "odd")}), fault("a"))
    line = table(ended).splitlines()[0]
    assert ("<-- not promise 4" in line) is marked
    assert all(f"promise {one}" in line for one in promises)
    assert exit_code(ended) is ExitCode.KEPT


def test_the_list_tells_what_each_is_about() -> None:
    one = fault("a", about="a length of 3", unseen="nobody asks")
    assert " ".join(listing([one]).split()) == "a 4 s svm a length of 3 (nobody asks)"


def test_a_torn_line_is_left_out_and_another_file_refused(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    row = Row.of(fault("a"), BASIS, Ended(KILLED, 1.0, 2.0))
    record.append(path, row)
    with path.open("a") as file:
        file.write('{"type": "fault", "na')
    assert record.read(path) == [row]
    assert row.judgement == KILLED
    path.write_text("dear all\n")
    with pytest.raises(
        ResultError, match=r"faults\.jsonl:1: this is no record of faults.*name another"
    ):
        record.read(path)
