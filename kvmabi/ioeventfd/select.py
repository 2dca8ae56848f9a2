"""Which cases a user asked for: patterns over ids, hazardous ones by name only; and their order."""

from __future__ import annotations

import difflib
import functools
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from kvmabi.errors import UsageError
from kvmabi.ioeventfd.cases import all_cases
from kvmabi.ioeventfd.steps import Case

WILDCARDS: Final = frozenset("*?[")


def matches(case: Case, pattern: str) -> bool:
    """Return whether `pattern` asks for the case.

    A pattern with `*`, `?` or `[` is a shell pattern for the whole id; any other text is looked
    for inside the id. A hazardous case needs its whole id.
    """
    if case.hazardous:
        return case.id == pattern
    if _is_shell_pattern(pattern):
        return fnmatchcase(case.id, pattern)
    return pattern in case.id


@functools.cache
def _is_shell_pattern(pattern: str) -> bool:
    """Return whether a pattern is one for whole ids; asked again for each of thousands of cases."""
    return not WILDCARDS.isdisjoint(pattern)


def select(patterns: Sequence[str], cases: Iterable[Case] | None = None) -> list[Case]:
    """Return the cases that any of the patterns asks for; all harmless ones without a pattern.

    Raises UsageError for a pattern that no case fits.
    """
    known = all_cases() if cases is None else tuple(cases)
    _refuse_unfit("--filter", patterns, known)
    if not patterns:
        return [case for case in known if not case.hazardous]
    return [case for case in known if any(matches(case, pattern) for pattern in patterns)]


def spread(cases: Sequence[Case], first: Sequence[str] = ()) -> list[int]:
    """Return the cases' numbers so that each stretch from the start has something of everything.

    In front stand the cases that a pattern of `first` fits, by pattern. Every family and bus then
    has its turn, again and again; the order is the same each time. Raises UsageError for a pattern
    that no case fits.
    """
    _refuse_unfit("--first", first, cases)
    turns: Counter[tuple[int, str, str]] = Counter()
    keys = []
    for number in sorted(range(len(cases)), key=lambda one: zlib.crc32(cases[one].id.encode())):
        case = cases[number]
        rank = next((at for at, text in enumerate(first) if matches(case, text)), len(first))
        group = (rank, case.family, case.bus)
        keys.append((rank, turns[group], number))
        turns[group] += 1
    return [number for *_, number in sorted(keys)]


def find(case_id: str, cases: Iterable[Case] | None = None) -> Case:
    """Return the case with this id; UsageError, with ids that come near, where there is none."""
    known = all_cases() if cases is None else tuple(cases)
    for case in known:
        if case.id == case_id:
            return case
    raise UsageError(f"there is no case {case_id!r}{_near(case_id, known)}")


def _refuse_unfit(option: str, patterns: Iterable[str], cases: Sequence[Case]) -> None:
    for pattern in patterns:
        if not any(matches(case, pattern) for case in cases):
            raise UsageError(
                f"no case fits {option} {pattern!r}; --list shows the ids{_near(pattern, cases)}"
            )


def pattern_for(case: Case) -> str:
    """Return a pattern that asks for this case alone, where an id may be part of another's.

    A hazardous case is asked for by its id and nothing else, so that others may fit it too.
    """
    return case.id if case.hazardous else f"[{case.id[0]}]{case.id[1:]}"


def _near(text: str, cases: Iterable[Case]) -> str:
    near = difflib.get_close_matches(text, [case.id for case in cases], n=3, cutoff=0.7)
    return f"; near it: {', '.join(near)}" if near else ""
