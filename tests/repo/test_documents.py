"""What the documents tell a reader to type exists, and the tools around the code do as they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import kvmabi
from kvmabi import verbs

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
        verbs.make_parser(verb).parse_args(arguments)
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


@pytest.fixture
def run_ci(tmp_path: Path):
    """Runs .ci/run on a machine with only the tools that are named, and returns what it says."""

    def run(*tools: str, user: int = 0) -> list[str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        scripts = {
            "make": 'echo "make $* kvm=${KVMABI_REQUIRE_KVM:-} lab=${KVMABI_REQUIRE_LAB:-}"',
            "id": f"echo {user}",
            "apt-get": f'echo "$*" >>{tmp_path}/apt',
            "qemu-system-x86_64": "",
            "bochs": "",
        }
        for name in ("make", "id", *tools):
            (folder / name).write_text(f"#!/bin/sh\n{scripts[name]}\n")
            (folder / name).chmod(0o755)
        for name in ("bash", "sh", "dirname", "env"):
            found = shutil.which(name)
            assert found
            (folder / name).symlink_to(found)
        environment = {name: text for name, text in os.environ.items() if "KVMABI" not in name}
        done = subprocess.run(
            [TOP / ".ci" / "run"],
            env={**environment, "PATH": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    return run


def test_ci_requires_kvm_exactly_where_it_opens(run_ci) -> None:
    opens = os.access("/dev/kvm", os.R_OK | os.W_OK)
    last = run_ci()[-1]
    assert last == f"make --no-print-directory test kvm={'1' if opens else ''} lab="


@pytest.mark.parametrize(
    ("tools", "user", "required", "installed"),
    [
        (("qemu-system-x86_64", "bochs", "apt-get"), 0, True, False),
        (("qemu-system-x86_64", "apt-get"), 0, True, True),
        (("qemu-system-x86_64", "apt-get"), 1000, False, False),
        (("apt-get",), 0, True, True),
        (("apt-get",), 1000, False, False),
        ((), 0, False, False),
    ],
)
def test_ci_requires_the_lab_where_it_has_an_emulator(
    run_ci, tmp_path: Path, tools: tuple[str, ...], user: int, required: bool, installed: bool
) -> None:
    last = run_ci(*tools, user=user)[-1]
    assert last.endswith(f"lab={'1' if required else ''}")
    log = tmp_path / "apt"
    packages = "qemu-system-x86 bochs seabios isolinux syslinux-common"
    wanted = f"install -y --no-install-recommends {packages}\n"
    assert (wanted in log.read_text() if log.exists() else False) == installed


@pytest.mark.parametrize(
    ("kvm", "command"),
    [
        ("Makefile", "kvmabi  matrix --json"),
        ("none", "kvmabi lab run --kernel debian:6.1 --backend svm -- matrix --json"),
    ],
)
def test_without_kvm_make_run_goes_to_the_lab_and_says_so(kvm: str, command: str) -> None:
    done = subprocess.run(
        ["make", "-n", "run", f"KVM={kvm}"], cwd=TOP, capture_output=True, text=True, check=True
    )
    assert command in done.stdout
    assert ("there is no none: checking Debian's kernel 6.1" in done.stdout) == (kvm == "none")
