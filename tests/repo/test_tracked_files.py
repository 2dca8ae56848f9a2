"""What is committed: no machine's paths, no registry, small modules, documented exports."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest

import kvmabi

TOP = Path(__file__).parents[2]
MOST_LINES = 400
GENERATED = ("kvmabi/uapi/",)

# Brackets keep the patterns from finding themselves.
UNWANTED = {
    "a path of somebody's machine": rb"(?<![\w.])/(?:work|root|home|Users)/[\w.]+/|/tmp/[s]cratch",
    "the host of a package registry": rb"p[y]pi\.org|p[y]thonhosted|npm[j]s|deb[.]debian[.]org",
    "how the work is organised": rb"(?i)\bissue #?\d+\b|\bhelper [s]ession",
}


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("no git checkout, so nobody knows what is tracked")
    return [TOP / name for name in done.stdout.decode().split("\0") if (TOP / name).is_file()]


def unwanted_in(data: bytes) -> list[str]:
    return [what for what, pattern in UNWANTED.items() if re.search(pattern, data)]


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    files = tracked()
    assert len(files) > 10
    found = {str(path.relative_to(TOP)): unwanted_in(path.read_bytes()) for path in files}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"see /ro" + b"ot/notes/x", 1),
        (b"built in /ho" + b"me/me/src/a.c\0", 1),
        (b"--index-url https://py" + b"pi.org/simple", 1),
        (b"as iss" + b"ue 12 says", 1),
        (b"the root/home folder, https://example.org/work/x", 0),
        (b"/tmp/x", 0),
    ],
)
def test_an_unwanted_text_is_seen(data: bytes, count: int) -> None:
    assert len(unwanted_in(data)) == count


def test_hand_written_modules_stay_small() -> None:
    sizes = {
        str(path.relative_to(TOP)): len(path.read_text().splitlines())
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(TOP).parts[0] in ("kvmabi", "tools")
    }
    assert sizes
    big = {
        name: n for name, n in sizes.items() if n > MOST_LINES and not name.startswith(GENERATED)
    }
    assert big == {}


def modules() -> list[str]:
    found = pkgutil.walk_packages(kvmabi.__path__, "kvmabi.")
    return [one.name for one in found if not one.name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_exported_names_exist_and_are_documented(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    if name.startswith("kvmabi.uapi."):
        return
    assert inspect.getdoc(module), f"{name} has no docstring"
    for one in exported:
        value = getattr(module, one)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name}.{one} has no docstring"


def test_the_types_are_shipped() -> None:
    assert (TOP / "kvmabi" / "py.typed").is_file()
