"""Which cases a pattern asks for, and what a user is told who asks for none."""

from __future__ import annotations

import pytest

from kvmabi.errors import UsageError
from kvmabi.ioeventfd.select import find, select, spread
from kvmabi.ioeventfd.steps import Case


def make(case_id: str, hazardous: str = "") -> Case:
    return Case(case_id, "family", "mmio", "4", "assigned", (), hazardous)


CASES = [make("match-mmio-len4"), make("match-pio-len4"), make("wide-store", "panics")]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ([], ["match-mmio-len4", "match-pio-len4"]),
        (["mmio"], ["match-mmio-len4"]),
        (["match-*"], ["match-mmio-len4", "match-pio-len4"]),
        (["*pio-len?"], ["match-pio-len4"]),
        (["wide-store"], ["wide-store"]),
        (["pio", "match-p*"], ["match-pio-len4"]),
    ],
)
def test_patterns_choose_cases(patterns: list[str], chosen: list[str]) -> None:
    assert [case.id for case in select(patterns, CASES)] == chosen


@pytest.mark.parametrize("pattern", ["nothing", "mmio-*", "wide-*", "store"])
def test_a_pattern_that_fits_nothing_is_an_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="no case fits"):
        select(["match-*", pattern], CASES)


def test_a_hazardous_case_runs_by_its_full_name_alone() -> None:
    assert all(not case.hazardous for case in select([]))
    assert all(not case.hazardous for case in select(["*"]))
    with pytest.raises(UsageError):
        select(["wide-store"])
    assert [case.id for case in select(["wide-store-first4"])] == ["wide-store-first4"]


def test_a_mistyped_id_is_told_its_neighbours() -> None:
    with pytest.raises(UsageError, match="near it: match-mmio-len4"):
        find("match-mmio-len5", CASES)
    assert find("match-pio-len4", CASES) is CASES[1]


def test_what_is_named_comes_first_in_the_order_of_the_patterns() -> None:
    cases = select([])
    chosen = [cases[number].id for number in spread(cases, ["crowded", "twin-mmio-*"])]
    ranks = [
        0 if "crowded" in name else 1 if name.startswith("twin-mmio-") else 2 for name in chosen
    ]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2}


def test_a_spread_order_has_every_case_once_and_soon_something_of_each_part() -> None:
    cases = select([])
    order = spread(cases)
    assert sorted(order) == list(range(len(cases)))
    assert order == spread(cases)
    parts = {(case.family, case.bus) for case in cases}
    assert {(cases[number].family, cases[number].bus) for number in order[: len(parts)]} == parts


def test_first_names_cases_that_there_are() -> None:
    with pytest.raises(UsageError, match="no case fits --first 'nothing'"):
        spread(CASES, ["nothing"])
