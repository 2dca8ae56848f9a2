"""The locks are in step with pyproject.toml: exact, hashed, complete, and no larger than needed."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
RUN = [*PROJECT["dependencies"], *PYPROJECT["dependency-groups"]["build"]]
WANTED = {"run": RUN, "test": [*RUN, *PROJECT["optional-dependencies"]["test"]]}


def read_lock(text: str) -> dict[str, str]:
    """Name to version; every entry must be exact and carry SHA-256 hashes, and nothing else."""
    entries: dict[str, str] = {}
    joined = re.sub(r"\\\n\s*", "", text)
    for line in joined.splitlines():
        match = re.fullmatch(
            r"([a-z0-9-]+)==([\w.]+)( ; [^-]+?)?((?: ?--hash=sha256:[0-9a-f]{64})+)", line.strip()
        )
        assert match, f"no exact, hashed requirement: {line[:80]!r}"
        entries[match[1]] = match[2]
    return entries


LOCKS = {kind: read_lock((TOP / "requirements" / f"{kind}.txt").read_text()) for kind in WANTED}


@pytest.mark.parametrize(
    "text",
    [
        "rich>=13 --hash=sha256:" + "0" * 64,
        "rich==15.0.0",
        "rich==15.0.0 --hash=md5:" + "0" * 32,
        "--index-url https://example.org/simple",
        "rich @ https://example.org/rich.whl --hash=sha256:" + "0" * 64,
    ],
)
def test_a_loose_entry_is_seen(text: str) -> None:
    with pytest.raises(AssertionError, match="no exact, hashed requirement"):
        read_lock(text)


@pytest.mark.parametrize("kind", WANTED)
def test_every_requirement_is_locked_within_its_range(kind: str) -> None:
    for line in WANTED[kind]:
        wanted = Requirement(line)
        version = LOCKS[kind].get(canonicalize_name(wanted.name))
        assert version, f"{wanted.name} is not locked: run `make lock`"
        assert version in wanted.specifier, f"{line} is locked at {version}: run `make lock`"


@pytest.mark.parametrize("kind", WANTED)
def test_the_lock_is_what_the_requirements_need_and_no_more(kind: str) -> None:
    assert closure(WANTED[kind]) == set(LOCKS[kind])


def closure(lines: list[str]) -> set[str]:
    """The names of the requirements and of all that they require, as installed here."""
    todo, seen = [Requirement(line) for line in lines], set()
    while todo:
        name = canonicalize_name(todo.pop().name)
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            pytest.fail(f"{name} is not installed; `make test` runs the tests in their environment")
        todo += [one for one in map(Requirement, needs) if not one.marker or one.marker.evaluate()]
    return seen


def test_running_and_testing_use_the_same_versions() -> None:
    assert LOCKS["run"].items() <= LOCKS["test"].items()


def test_the_build_group_is_the_build_backend() -> None:
    assert PYPROJECT["dependency-groups"]["build"] == PYPROJECT["build-system"]["requires"]


def test_the_metadata_keeps_ranges() -> None:
    for line in WANTED["test"]:
        assert {one.operator for one in Requirement(line).specifier} == {">=", "<"}, line
