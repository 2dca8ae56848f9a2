"""``kvmabi compare``: two results, and what regressed from the old one to the new."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from kvmabi.errors import ExitCode, ResultError, UsageError
from kvmabi.lab.collector import TEXTS
from kvmabi.results import read_result
from kvmabi.results.comparison import compare
from kvmabi.results.comparison.json import to_json
from kvmabi.results.comparison.lines import lines
from kvmabi.results.comparison.markdown import to_markdown
from kvmabi.results.store import STDOUT
from kvmabi.results.terminal import summary_console

if TYPE_CHECKING:
    from kvmabi.probing.compare import Comparison as ProbeComparison

RUN: Final = "run"
PROBE: Final = "probe"
"""The "type" of a result's first record, and of a probe's report."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("old", metavar="OLD", help="what matrix or probe wrote with --json")
    parser.add_argument("new", metavar="NEW", help="what the same verb wrote elsewhere, or later")
    parser.add_argument("--json", metavar="FILE", help='write one JSON object ("-": to stdout)')
    parser.add_argument("--markdown", action="store_true", help="print Markdown, to be pasted")


def run(args: argparse.Namespace) -> int:
    """Carry the verb out and return its exit code: 1 where new breaks what old did not."""
    if args.old == args.new:
        raise UsageError(f"there is nothing to compare: both sides are {args.old}")
    kinds = [_kind(Path(name)) for name in (args.old, args.new)]
    if kinds == [PROBE, PROBE]:
        return _compare_probes(args)
    if PROBE in kinds:
        probe, other = (args.old, args.new) if kinds[0] == PROBE else (args.new, args.old)
        raise UsageError(f"{probe} is a report of kvmabi probe, and {other} is not")
    return _compare_results(args)


def _kind(path: Path) -> str:
    """Return the "type" of the first JSON object in a file."""
    try:
        first, _ = json.JSONDecoder().raw_decode(path.read_text("utf-8", "replace"))
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        first = None
    kind = first.get("type") if isinstance(first, dict) else None
    if kind not in (RUN, PROBE):
        raise ResultError(
            f"{path} cannot be compared: it is no result of kvmabi matrix and no report of kvmabi "
            "probe (both write one with --json)"
        )
    return str(kind)


def _compare_results(args: argparse.Namespace) -> int:
    found = compare(read_result(args.old), read_result(args.new))
    _write_json(args.json, to_json(found))
    if args.markdown:
        _print_text(args.json, to_markdown(found, TEXTS))
    else:
        console = summary_console(stderr=args.json == STDOUT)
        for one in lines(found, TEXTS):
            # A line of text can be copied whole; a table is laid out to the width.
            console.print(one, soft_wrap=isinstance(one, Text))
    return found.exit_code


def _compare_probes(args: argparse.Namespace) -> int:
    from kvmabi.probing.compare import compare as compare_reports  # noqa: PLC0415 (as above)
    from kvmabi.probing.report import read_report  # noqa: PLC0415

    found = compare_reports(*(read_report(Path(name)) for name in (args.old, args.new)))
    _write_json(args.json, found.to_json())
    _show_probes(found, args)
    if not found.compared:
        return ExitCode.NOTHING_CHECKED
    return ExitCode.BROKEN if found.lost else ExitCode.KEPT


def _show_probes(found: ProbeComparison, args: argparse.Namespace) -> None:
    from kvmabi.probing.show import comparison, markdown, terminal  # noqa: PLC0415

    blocks = comparison.blocks(found)
    if args.markdown:
        _print_text(args.json, "\n".join(markdown.render_blocks(blocks)) + "\n")
    else:
        terminal.print_blocks(summary_console(stderr=args.json == STDOUT), blocks)


def _print_text(json_file: str | None, text: str) -> None:
    (sys.stderr if json_file == STDOUT else sys.stdout).write(text)


def _write_json(file: str | None, body: dict[str, Any]) -> None:
    text = json.dumps(body, indent=1) + "\n"
    if file == STDOUT:
        sys.stdout.write(text)
    elif file:
        try:
            Path(file).write_text(text, "utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {file}: {error.strerror}") from None


if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("compare"))
