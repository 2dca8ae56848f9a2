"""Options that several subcommands share."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvmabi import arch
from kvmabi.arch import Architecture
from kvmabi.errors import UsageError


def add_architecture(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--arch``; `default` says what holds without it."""
    parser.add_argument(
        "--arch",
        metavar="A",
        action="append",
        default=[],
        help=f"{', '.join(arch.ARCHITECTURES)}, or what uname or QEMU call one (default: {default};"
        " may be repeated)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", metavar="FILE", help='write JSON ("-": to stdout)')


def architectures(names: list[str], default: list[Architecture]) -> list[Architecture]:
    """The architectures that were named, each once; `default` if none was."""
    found = [arch.find(name) for name in names]
    return list({one.name: one for one in found}.values()) or default


def host_first() -> list[Architecture]:
    """All architectures, the host's (if it is one of them) before the others."""
    machine = os.uname().machine
    everyone = arch.ARCHITECTURES.values()
    return sorted(everyone, key=lambda one: machine not in (one.name, *one.machines))


def write_json(target: str, value: object) -> None:
    """Write `value` to a file or ("-") to stdout; UsageError if the file cannot be written."""
    text = json.dumps(value, indent=1) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}") from error


def printer(target: str | None) -> Callable[[Any], None]:
    """What prints for people: to stdout, or to stderr where JSON owns stdout."""
    stream = sys.stderr if target == "-" else sys.stdout

    def show(text: Any) -> None:
        stream.write(f"{text}\n")

    return show
