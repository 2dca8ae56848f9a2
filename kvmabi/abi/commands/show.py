"""``kvmabi abi show``: a struct, an ioctl or a constant as a person wants to see it."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence

from kvmabi.abi.commands import options
from kvmabi.abi.history import History
from kvmabi.abi.lookup import Found, Modules
from kvmabi.abi.show_text import details, line
from kvmabi.errors import ExitCode, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="a struct, ioctl, macro or enumerator, or a shell pattern for several ('KVM_CAP_*')",
    )
    options.add_architecture(parser, "all")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Carry the subcommand out and return its exit code."""
    modules = Modules(options.architectures(args.arch, options.host_first()))
    history = History.load()
    found = [one for name in args.names for one in _find(modules, name)]
    found = list({one.name: one for one in found}.values())
    show = options.printer(args.json)
    if args.json != "-":
        for text in _texts(found, history, alone=not _is_pattern(args.names)):
            show(text)
    if args.json:
        options.write_json(args.json, [one.as_json(history) for one in found])
    return ExitCode.KEPT


def _is_pattern(names: Sequence[str]) -> bool:
    return any(letter in name for name in names for letter in "*?[")


def _find(modules: Modules, name: str) -> list[Found]:
    found = modules.find(name)
    if not found:
        if _is_pattern([name]):
            raise UsageError(f"KVM's ABI has no name that fits {name!r}")
        near = difflib.get_close_matches(name, modules.names(), 4, 0.7)
        advice = f"; did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"KVM's ABI has no {name or 'empty name'}{advice}")
    return found


def _texts(found: Sequence[Found], history: History, *, alone: bool) -> list[str]:
    if not alone:
        width = max(len(one.name) for one in found)
        return [line(one, history, width) for one in found]
    return ["\n\n".join(details(one, history) for one in found)]
