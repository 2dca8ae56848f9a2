"""``kvmabi lab build``: a kernel for the lab, from source, with changes and a flavour."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kvmabi.errors import ExitCode, UsageError
from kvmabi.lab.build import changes, config, kernel, sources

DEFAULT_FLAVOUR: Final = "tiny"
WIDTH: Final = 72
"""How much of make's line a terminal shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a kernel source tree, an archive of one, or debian:linux-source-6.1",
    )
    parser.add_argument(
        "--patch",
        metavar="PATCH",
        action="append",
        default=[],
        help="change the source first (yours stays as it is), in the order given: "
        f"{', '.join(changes.own_patches())}, a .toml file with edits, or a diff",
    )
    parser.add_argument(
        "--flavour",
        choices=list(config.FLAVOURS),
        default=DEFAULT_FLAVOUR,
        help="; ".join(f"{one.name}: {one.about}" for one in config.FLAVOURS.values())
        + " (default: %(default)s)",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="put the kernel there (default: a folder in the cache)"
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        default=os.cpu_count() or 1,
        help="how many compilers side by side (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Carry the subcommand out and return its exit code; the kernel's folder goes to stdout."""
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: at least one is needed")
    wanted = tuple(changes.find_change(name) for name in args.patch)
    out = _out(args.out)
    recipe = kernel.Recipe(
        source=sources.find_source(args.source, _say),
        changes=wanted,
        flavour=config.flavour(args.flavour),
        jobs=args.jobs,
        say=_say,
        progress=_progress(),
    )
    sys.stdout.write(f"{kernel.build(recipe, out)}\n")
    return ExitCode.KEPT


def _out(name: str | None) -> Path | None:
    """Return the folder for the kernel, which is there then.

    UsageError where something else is in there, or nothing can be written.
    """
    if name is None:
        return None
    path = Path(name)
    try:
        if path.exists() and not path.is_dir():
            raise UsageError(f"--out {name}: that is no folder")
        if path.is_dir() and any(path.iterdir()) and not (path / kernel.ABOUT).is_file():
            raise UsageError(f"--out {name}: the folder holds something else than a kernel of ours")
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise UsageError(f"--out {name}: nothing can be written there: {error.strerror}") from error


def _say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[Kkvmabi lab: {text}\n")


def _progress() -> Callable[[str], None]:
    """Return what shows make's lines, in one line of the terminal; elsewhere it does nothing."""
    if not sys.stderr.isatty():
        return lambda _line: None
    count = 0

    def show(line: str) -> None:
        nonlocal count
        count += 1
        sys.stderr.write(f"\r\033[K{count:5} {line.strip()[:WIDTH]}\r")
        sys.stderr.flush()

    return show
