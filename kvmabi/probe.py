"""``kvmabi probe``: what this kernel's KVM offers, and what it does with ioeventfds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from kvmabi.arch import host
from kvmabi.errors import ExitCode, UsageError
from kvmabi.probing.report import Json, Report, read_report
from kvmabi.probing.run import GROUPS, SECTIONS, choose, probe
from kvmabi.probing.setting import Setting

if TYPE_CHECKING:
    from kvmabi.abi.sides import Side
    from kvmabi.probing.show.model import Block

RUNNING: Final = "running"
ASKS: Final = frozenset(kind.name for kind in SECTIONS if kind.needs_kvm)
"""The sections that ask KVM; where all of them were skipped, nothing was."""
_NAMES: Final = ", ".join([*(kind.name for kind in SECTIONS), *GROUPS])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "report",
        nargs="?",
        default=RUNNING,
        metavar="REPORT",
        help="a report that --json has saved, to show it again or compare it; "
        'otherwise the kernel that is running ("running")',
    )
    parser.add_argument(
        "--only",
        metavar="NAMES",
        type=_names,
        default=[],
        help=f"only these sections, separated by commas: {_NAMES}",
    )
    parser.add_argument(
        "--compare",
        metavar="OTHER",
        help="what the older of two kernels has and the newer has not: another saved report, "
        'or "running"',
    )
    parser.add_argument("--json", metavar="FILE", help='write one JSON object ("-": to stdout)')
    parser.add_argument("--markdown", action="store_true", help="print Markdown, to be pasted")
    parser.add_argument(
        "--headers",
        metavar="DIR",
        help="the running kernel's own headers (a source tree or an include folder, say): names"
        " come from there, and the valid flags too where the kernel has no BTF",
    )
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="do not stop measurements for time: how many registrations fit can take long",
    )


def _names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names no section; there are: {_NAMES}")
    return found


def run(args: argparse.Namespace) -> int:
    """Carry the verb out and return its exit code."""
    kinds = choose(args.only)
    names = [args.report, *([args.compare] if args.compare else [])]
    if args.compare and names[0] == names[1]:
        raise UsageError(f"there is nothing to compare: both sides are {names[0]}")
    if args.headers is not None and RUNNING not in names:
        raise UsageError("--headers is about the running kernel: a saved report has its own names")
    setting = Setting(thorough=args.thorough, headers=_headers(args.headers))
    saved = {name: read_report(Path(name)) for name in names if name != RUNNING}
    reports = [
        saved[name].only(kind.name for kind in kinds) if name in saved else probe(kinds, setting)
        for name in names
    ]
    if args.compare:
        return _compare(reports[0], reports[1], args)
    return _show(reports[0], args)


def _headers(text: str | None) -> Side | None:
    if text is None:
        return None
    from kvmabi.abi.sides import read_host_side  # noqa: PLC0415 (only who names headers reads them)

    side = read_host_side(text)
    from kvmabi.ioeventfd.detect import HeaderFlags  # noqa: PLC0415 (reads the built-in ABI)

    HeaderFlags.of(side.facts[host().name], side.label)  # UsageError where they have no mask
    return side


def _show(report: Report, args: argparse.Namespace) -> int:
    from kvmabi.probing.show import head  # noqa: PLC0415 (nothing to draw where only JSON is due)

    _write_json(report.to_json(), args)
    if args.markdown:
        from kvmabi.probing.show.markdown import render_report  # noqa: PLC0415

        _out(args).write(render_report(report))
    elif args.json != "-":
        from kvmabi.probing.show.terminal import print_report  # noqa: PLC0415
        from kvmabi.results.terminal import summary_console  # noqa: PLC0415

        print_report(summary_console(), report)
    absent = head.kvm_lines(report)
    if absent:
        if args.json == "-" or not sys.stdout.isatty():  # else it has just been read
            sys.stdout.flush()
            sys.stderr.write(f"kvmabi probe: {absent[0]}\nwhat to do: {absent[1]}\n")
        return ExitCode.NOTHING_CHECKED
    failed = [name for name, section in report.sections.items() if section.status == "failed"]
    if failed:
        sys.stderr.write(f"kvmabi probe: failed: {', '.join(failed)}; the reasons are above\n")
        return ExitCode.HARNESS_FAILED
    asked = [section for name, section in report.sections.items() if name in ASKS]
    nothing = bool(asked) and all(section.status == "skipped" for section in asked)
    return ExitCode.NOTHING_CHECKED if nothing else ExitCode.KEPT


def _compare(one: Report, other: Report, args: argparse.Namespace) -> int:
    from kvmabi.probing.compare import compare, in_order  # noqa: PLC0415
    from kvmabi.probing.show import comparison  # noqa: PLC0415

    found = compare(*in_order(one, other))
    _write_json(found.to_json(), args)
    _print_blocks(comparison.blocks(found), args)
    if not found.compared:
        return ExitCode.NOTHING_CHECKED
    return ExitCode.BROKEN if found.lost else ExitCode.KEPT


def _print_blocks(blocks: list[Block], args: argparse.Namespace) -> None:
    if args.markdown:
        from kvmabi.probing.show.markdown import render_blocks  # noqa: PLC0415

        _out(args).write("\n".join(render_blocks(blocks)) + "\n")
    elif args.json != "-":
        from kvmabi.probing.show.terminal import print_blocks  # noqa: PLC0415
        from kvmabi.results.terminal import summary_console  # noqa: PLC0415

        print_blocks(summary_console(), blocks)


def _write_json(body: Json, args: argparse.Namespace) -> None:
    if not args.json:
        return
    text = json.dumps(body, indent=1) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
        return
    try:
        Path(args.json).write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {args.json}: {error.strerror}") from None


def _out(args: argparse.Namespace) -> TextIO:
    return sys.stderr if args.json == "-" else sys.stdout


if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("probe"))
