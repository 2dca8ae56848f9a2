"""``kvmabi abi diff``: what changes from one kernel's ABI to another's, and whom it hurts."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from kvmabi.abi.diff import diff_facts
from kvmabi.abi.diff.report import Report
from kvmabi.abi.running_side import RUNNING, running_sides
from kvmabi.abi.sides import SIDE_FORMS, Side, read_side
from kvmabi.arch import ARCHITECTURES, find, host
from kvmabi.errors import ExitCode, UsageError
from kvmabi.headersets.store import default_store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "old", metavar="OLD", help=f'{SIDE_FORMS}; or "running", this kernel by its BTF'
    )
    parser.add_argument("new", metavar="NEW", help="as OLD")
    parser.add_argument(
        "--arch",
        action="append",
        default=[],
        metavar="ARCH",
        help=f"only this architecture (may be repeated): {', '.join(ARCHITECTURES)}",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--all", action="store_true", help="show each change, shorten no list")
    form.add_argument("--json", metavar="FILE", help='write one JSON object ("-": to stdout)')
    form.add_argument("--markdown", action="store_true", help="write Markdown, with each change")
    parser.add_argument(
        "--from", dest="store", type=Path, metavar="DIR", default=default_store(),
        help="the folder that imported sets are in (default: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Carry the command out: 1 if a change is breaking."""
    wanted = [find(name) for name in args.arch] or list(ARCHITECTURES.values())
    if RUNNING in (args.old, args.new):
        report = _with_running(args)
    else:
        old, new = (read_side(text, wanted, args.store) for text in (args.old, args.new))
        report = compare(old, new, asked=bool(args.arch))
    if args.json:
        _write(args.json, report.to_json())
    elif args.markdown:
        sys.stdout.write(report.to_markdown())
    else:
        from rich.console import Console  # noqa: PLC0415 (the other forms need no terminal)

        report.show(Console(), everything=args.all)
    return ExitCode.BROKEN if report.breaking else ExitCode.KEPT


def _with_running(args: argparse.Namespace) -> Report:
    text = args.new if args.old == RUNNING else args.old
    if text == RUNNING:
        raise UsageError("only one side can be the running kernel")
    running, other, note = running_sides(read_side(text, [host()], args.store))
    report = compare(*((running, other) if args.old == RUNNING else (other, running)))
    return replace(report, notes=(*report.notes, note))


def compare(old: Side, new: Side, *, asked: bool = False) -> Report:
    """The report on two sides. Architectures that only one has KVM headers for are named.

    UsageError where nothing can be compared.
    """
    both = [name for name in ARCHITECTURES if name in old.facts and name in new.facts]
    if not both:
        raise UsageError(f"no architecture is in both: {_lacks(old)}; {_lacks(new)}")
    before, after = dict(old.facts), dict(new.facts)
    notes = []
    for side, own, other in ((old, before, after), (new, after, before)):
        missing = [name for name in ARCHITECTURES if name in other and name not in own]
        # A whole kernel without KVM on one of them says something; a package of one does not.
        if missing and (asked or len(own) < len(ARCHITECTURES) - 1):
            notes.append(f"not compared, since {side.label} has no headers: {', '.join(missing)}")
            for name in missing:
                del other[name]
    changes = tuple(diff_facts(before, after))
    return Report(old.label, new.label, changes, tuple(both), tuple(notes))


def _lacks(side: Side) -> str:
    return f"{side.label} has {', '.join(side.facts) or 'none'}"


def _write(file: str, text: str) -> None:
    if file == "-":
        sys.stdout.write(text)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None
