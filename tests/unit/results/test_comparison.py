"""Two results beside each other. What each change means is spelled out here, not looked up."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest

from kvmabi.errors import ExitCode, ResultError
from kvmabi.results import CaseRecord, Disagreement, EndRecord, Result, RunRecord, Verdict
from kvmabi.results.comparison import Comparison, Kind, compare
from kvmabi.results.comparison.json import to_json

PASS, FAIL, KNOWN, SKIP, ERROR = Verdict
ResultMaker = Callable[..., Result]


def end(planned: int, executed: int, **more: object) -> EndRecord:
    return EndRecord(planned=planned, executed=executed, verdicts={}, seconds=1.0, **more)  # type: ignore[arg-type]


@pytest.fixture
def result(run_record: RunRecord) -> ResultMaker:
    """Makes a whole result of cases; `missing` planned cases have no verdict."""

    def make(*cases: CaseRecord, missing: int = 0, **run: object) -> Result:
        planned = len(cases) + missing
        record = dataclasses.replace(run_record, planned=planned, **run)  # type: ignore[arg-type]
        return Result(record, cases, end(planned, len(cases)), 0)

    return make


@pytest.fixture
def one_case(result: ResultMaker, make_case) -> Callable[..., Comparison]:
    """Compares two results of one case, and of another that passes in both."""

    def make(old: Verdict | None, new: Verdict | None) -> Comparison:
        sides = [[make_case("x", one)] if one else [] for one in (old, new)]
        return compare(*(result(make_case("steady"), *side) for side in sides))

    return make


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (PASS, FAIL, Kind.REGRESSED),
        (KNOWN, FAIL, Kind.REGRESSED),
        (SKIP, FAIL, Kind.FAILING),
        (ERROR, FAIL, Kind.FAILING),
        (None, FAIL, Kind.FAILING),
        (PASS, ERROR, Kind.LOST),
        (FAIL, ERROR, Kind.LOST),
        (KNOWN, ERROR, Kind.LOST),
        (SKIP, ERROR, Kind.LOST),
        (FAIL, PASS, Kind.FIXED),
        (ERROR, PASS, Kind.FIXED),
        (PASS, SKIP, Kind.LOST),
        (SKIP, PASS, Kind.CHANGED),
        (PASS, KNOWN, Kind.CHANGED),
        (KNOWN, PASS, Kind.CHANGED),
        (FAIL, KNOWN, Kind.CHANGED),
        (FAIL, SKIP, Kind.LOST),
        (KNOWN, SKIP, Kind.LOST),
        (SKIP, KNOWN, Kind.CHANGED),
        (ERROR, KNOWN, Kind.CHANGED),
        (ERROR, SKIP, Kind.CHANGED),
        *((one, one, Kind.SAME) for one in Verdict),
        *((one, None, Kind.GONE) for one in Verdict),
        *((None, one, Kind.NEW) for one in (PASS, KNOWN, SKIP, ERROR)),
    ],
)
def test_each_change_has_its_kind(one_case, old, new, kind: Kind) -> None:
    (pair,) = (pair for pair in one_case(old, new).pairs if pair.id == "x")
    assert pair.kind is kind


BAD = {ERROR: ExitCode.HARNESS_FAILED, FAIL: ExitCode.BROKEN}


@pytest.mark.parametrize(
    ("old", "new"), [pair for pair in itertools.product([*Verdict, None], repeat=2) if any(pair)]
)
def test_the_exit_code_is_green_only_where_nothing_is_worse(one_case, old, new) -> None:
    code = one_case(old, new).exit_code
    if old in (PASS, FAIL, KNOWN) and new in (SKIP, None):
        assert code == ExitCode.NOTHING_CHECKED
    else:
        same = old is FAIL and new is FAIL
        assert code == (ExitCode.KEPT if same else BAD.get(new, ExitCode.KEPT))


def test_a_lost_kernel_outranks_a_regression(result, make_case) -> None:
    old = result(make_case("a"), make_case("b"))
    new = result(make_case("a", FAIL), make_case("b", ERROR))
    assert compare(old, new).exit_code == ExitCode.BROKEN
    lost = dataclasses.replace(new, end=end(2, 2, problems=("the kernel under test was lost",)))
    assert compare(old, lost).exit_code == ExitCode.HARNESS_FAILED


def test_no_common_case_is_nothing_checked(result, make_case) -> None:
    found = compare(result(make_case("a")), result(make_case("b", FAIL)))
    assert found.compared == 0
    assert found.exit_code == ExitCode.NOTHING_CHECKED


def test_common_cases_that_nobody_judged_are_nothing_checked(result, make_case) -> None:
    skipped = result(make_case("a", SKIP), make_case("b", SKIP))
    assert compare(skipped, skipped).exit_code == ExitCode.NOTHING_CHECKED
    half = result(make_case("a"), make_case("b", SKIP))
    assert compare(skipped, half).exit_code == ExitCode.NOTHING_CHECKED
    assert compare(half, half).exit_code == ExitCode.KEPT


INCOMPLETE = {
    "cut off": None,
    "interrupted": end(3, 1, interrupted=True),
    "3 cases": end(3, 1, problems=("3 cases were planned and 1 executed",)),
    "1 of 3": end(3, 1),
}


@pytest.mark.parametrize("how", INCOMPLETE)
def test_a_new_run_that_is_not_whole_is_never_green(result, make_case, how: str) -> None:
    old = result(make_case("a"), make_case("b"), make_case("c"))
    new = dataclasses.replace(result(make_case("a"), missing=2), end=INCOMPLETE[how])
    found = compare(old, new)
    assert found.exit_code == ExitCode.HARNESS_FAILED
    (flaw,) = to_json(found)["new"]["incomplete"]
    assert how in flaw
    assert to_json(found)["old"]["incomplete"] == []


@pytest.mark.parametrize("how", INCOMPLETE)
def test_an_old_run_that_is_not_whole_matters_where_its_cases_are_missing(
    result, make_case, how: str
) -> None:
    old = dataclasses.replace(result(make_case("a"), missing=2), end=INCOMPLETE[how])
    whole = result(make_case("a"), make_case("b"), make_case("c"))
    assert compare(old, whole).exit_code == ExitCode.HARNESS_FAILED
    assert compare(old, result(make_case("a"))).exit_code == ExitCode.KEPT
    assert compare(old, result(make_case("a", FAIL))).exit_code == ExitCode.BROKEN


def test_an_interrupted_run_that_found_a_regression_found_it(result, make_case) -> None:
    old = result(make_case("a"), make_case("b"))
    new = dataclasses.replace(
        result(make_case("a", FAIL), missing=1), end=end(2, 1, interrupted=True)
    )
    assert compare(old, new).exit_code == ExitCode.BROKEN


def change(case: CaseRecord, *, promise: int = 1, seen: object = 0) -> CaseRecord:
    one = Disagreement("write 0", promise, 1, seen)  # type: ignore[arg-type]
    return dataclasses.replace(case, disagreements=(one,))


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ({"seen": 2}, {"seen": 2}, Kind.SAME),
        ({"seen": 2}, {"seen": 3}, Kind.DIFFERENT),
        ({"promise": 1}, {"promise": 2}, Kind.DIFFERENT),
        ({"promise": 0, "seen": "BUG at ffff1"}, {"promise": 0, "seen": "BUG at ffff2"}, Kind.SAME),
    ],
)
def test_a_case_that_fails_in_another_way_is_told(result, make_case, one, other, kind) -> None:
    fail = make_case("a", FAIL)
    found = compare(result(change(fail, **one)), result(change(fail, **other)))
    assert found.counts == {kind: 1}
    assert found.exit_code == ExitCode.KEPT


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [(SKIP, Kind.DIFFERENT), (KNOWN, Kind.DIFFERENT), (ERROR, Kind.SAME), (PASS, Kind.SAME)],
)
def test_another_reason_is_told_where_it_is_one(result, make_case, verdict, kind) -> None:
    case = make_case("a", verdict)
    found = compare(result(case), result(dataclasses.replace(case, reason="another")))
    assert found.counts == {kind: 1}


def test_two_verbs_do_not_compare(result, make_case) -> None:
    with pytest.raises(ResultError, match="two verbs cannot be compared: matrix and explore"):
        compare(result(make_case("a")), result(make_case("a"), verb="explore"))


@pytest.mark.parametrize(
    ("field", "changed", "note"),
    [
        ("abi", {"mask": 0x3F}, "the valid masks differ, 0x1f and 0x3f"),
        ("abi", {"version": "6.1"}, "the ABI versions differ, 7.2 and 6.1"),
        (
            "abi",
            {"mask_source": "headers"},
            "the sources of the valid mask differ, BTF and headers",
        ),
        ("host", {"back_end": "kvm_amd"}, "the KVM back ends differ, kvm_none and kvm_amd"),
        ("host", {"cpu_model": "A CPU"}, "the CPUs differ, none and A CPU"),
        (
            "host",
            {"lab": {"backend": "svm"}},
            "the labs' back ends differ, not in the lab and svm",
        ),
        ("options", {"filter": ["pio", "len4"]}, "the runs' --filter differ, none and pio len4"),
        ("options", {"other": 3}, "the runs' --other differ, none and 3"),
    ],
)
def test_other_terms_are_told(result, make_case, run_record, field, changed, note) -> None:
    terms = {field: {**getattr(run_record, field), **changed}}
    found = compare(result(make_case("a")), result(make_case("a"), **terms))
    assert note in found.notes


OFFER = {"mask": 0x1F, "mask_source": "BTF", "any_length": True, "no_length": True}
GUESSED = {"mask_source": "the built-in ABI, Linux 7.2"}


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ({}, {"any_length": False}, "KVM_CAP_IOEVENTFD_ANY_LENGTH, which old has and new has not"),
        ({}, {"no_length": False}, "KVM_CAP_IOEVENTFD_NO_LENGTH, which old has and new has not"),
        ({"mask": 0x3F}, {}, "the flags 0x20, which old takes and new does not"),
        ({"mask": 0x2F}, {}, "the flags 0x20, which old takes and new does not"),
    ],
)
def test_what_is_not_offered_any_more_is_a_regression(result, make_case, old, new, gone) -> None:
    before, after = (result(make_case("a"), abi={**OFFER, **one}) for one in (old, new))
    found = compare(before, after)
    assert found.withdrawn == (gone,)
    assert found.exit_code == ExitCode.BROKEN
    assert to_json(found)["withdrawn"] == [gone]
    back = compare(after, before)
    assert gone not in back.withdrawn
    assert any("differ" in note for note in back.notes)


@pytest.mark.parametrize(("old", "new"), [(GUESSED, {}), ({}, GUESSED), (GUESSED, GUESSED)])
def test_a_mask_that_no_kernel_told_is_not_withdrawn(result, make_case, old, new) -> None:
    abi = {**OFFER, **old, "mask": 0x3F}, {**OFFER, **new}
    found = compare(*(result(make_case("a"), abi=one) for one in abi))
    assert (found.withdrawn, found.exit_code) == ((), ExitCode.KEPT)


def test_a_result_that_does_not_tell_what_was_offered_is_no_regression(result, make_case) -> None:
    abi = {**OFFER, "any_length": False}
    found = compare(result(make_case("a")), result(make_case("a"), abi=abi))
    assert (found.withdrawn, found.exit_code) == ((), ExitCode.KEPT)
    name = "the answers to KVM_CAP_IOEVENTFD_ANY_LENGTH differ"
    assert f"{name}, not recorded and no" in found.notes


def test_equal_terms_leave_one_note(result, make_case, run_record) -> None:
    same = result(make_case("a"))
    assert compare(same, same).notes == ("both ran on one build of Linux 6.18.0-test",)
    newer = result(make_case("a"), host={**run_record.host, "kernel_release": "6.19.0"})
    assert compare(same, newer).notes == ()


def test_the_json_has_each_case_that_is_not_the_same(result, make_case) -> None:
    old = result(make_case("a"), make_case("b"), make_case("c", SKIP))
    new = result(make_case("a"), make_case("b", FAIL), make_case("d"))
    body = to_json(compare(old, new))
    assert (body["type"], body["compared"], body["exit_code"]) == ("comparison", 2, 1)
    assert body["counts"] | {"same": 1, "regressed": 1, "gone": 1, "new": 1} == body["counts"]
    assert [(one["id"], one["kind"]) for one in body["cases"]] == [
        ("b", "regressed"),
        ("c", "gone"),
        ("d", "new"),
    ]
    assert body["cases"][0]["old"] == {"verdict": "pass"}
    assert body["cases"][0]["new"]["disagreements"] == [
        {"step": "write 0", "promise": 1, "expected": {"signals": 1}, "seen": {"signals": 0}}
    ]
    assert body["cases"][1] == {
        "id": "c",
        "kind": "gone",
        "old": {"verdict": "skip", "reason": "no such capability"},
    }
