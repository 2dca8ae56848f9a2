"""What the documents tell a reader to type exists, and the tools around the code do as they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import kvmabi
from kvmabi import cli

TOP = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
MAKEFILE = (TOP / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def commands(text: str) -> list[str]:
    """The commands in console blocks (behind "$ ") and in backquotes."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    typed = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    inline = re.findall(r"`((?:make|kvmabi|python -m kvmabi)\b[^`\n]*)`", text)
    return typed + inline


def wrong_with(command: str) -> str:
    """Why a command that a document shows cannot be typed; empty if it can."""
    words = shlex.split(command, comments=True)
    program = Path(words[0]).name if words else ""
    if program == "make":
        wanted = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
        return ", ".join(f"no target {one}" for one in sorted(wanted - TARGETS))
    if program.startswith("python") and words[1:2] == ["-m"]:
        program, words = "kvmabi", [words[2], *words[2].split(".")[1:], *words[3:]]
    return wrong_with_arguments(words[1:]) if program == "kvmabi" else ""


def wrong_with_arguments(arguments: list[str]) -> str:
    verb = next((one for one in arguments if not one.startswith("-")), None)
    try:
        cli.make_parser(verb).parse_args(arguments)
    except SystemExit as error:
        return "" if error.code == 0 else f"no such arguments: {arguments}"
    return ""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_in_a_document_exists(name: str) -> None:
    found = commands((TOP / name).read_text())
    assert found
    wrong = {one: wrong_with(one) for one in found}
    assert {one: why for one, why in wrong.items() if why} == {}


@pytest.mark.parametrize(
    "command",
    [
        "make no-such-target",
        "kvmabi no-such-verb",
        "kvmabi --no-such-option",
        ".venv/bin/kvmabi matrix --no-such-option",
        "python -m kvmabi.matrix --no-such-option",
        "python -m kvmabi no-such-verb",
    ],
)
def test_a_command_that_does_not_exist_is_seen(command: str) -> None:
    assert wrong_with(command)


def test_commands_are_found_in_blocks_and_in_text() -> None:
    text = "Do `make run`.\n```console\n$ kvmabi --version\nkvmabi 1\n```\nand `other`.\n"
    assert commands(text) == ["kvmabi --version", "make run"]


def test_make_help_lists_every_target_for_people() -> None:
    done = subprocess.run(["make", "help"], cwd=TOP, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("make ")}
    assert listed == TARGETS - {"setup-run", "setup-test"}


def test_the_changelog_knows_this_version() -> None:
    assert f"## {kvmabi.__version__}" in (TOP / "CHANGELOG.md").read_text()


def test_ci_requires_kvm_exactly_where_it_opens(tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "make $* require=${KVMABI_REQUIRE_KVM:-}"\n')
    make.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment.pop("KVMABI_REQUIRE_KVM", None)
    done = subprocess.run(
        [TOP / ".ci" / "run"], env=environment, capture_output=True, text=True, check=True
    )
    opens = os.access("/dev/kvm", os.R_OK | os.W_OK)
    last = done.stdout.splitlines()[-1]
    assert last == f"make --no-print-directory test require={'1' if opens else ''}"
