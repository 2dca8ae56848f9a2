"""``kvmabi bench``: what a write to a device costs a guest, in the table of the 2013 series."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kvmabi.benching.plot import check_plot, write_plot
from kvmabi.benching.run import Bench, run_bench, to_json
from kvmabi.benching.turns import Plan
from kvmabi.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS: Final = 5
SAMPLES: Final = 1000
WARMUP: Final = 100
MOST_SAMPLES: Final = 65536


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "--against",
        choices=["qemu"],
        help="run the same guest under QEMU with KVM too, in turn, and give the ratios",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=_from_1_to(100),
        default=ROUNDS,
        help=f"how often all is measured; the quietest counts ({ROUNDS})",
    )
    parser.add_argument(
        "--samples",
        metavar="N",
        type=_from_1_to(MOST_SAMPLES),
        default=SAMPLES,
        help=f"operations of each row in each round ({SAMPLES})",
    )
    parser.add_argument(
        "--warmup",
        metavar="N",
        type=_from_1_to(MOST_SAMPLES),
        default=WARMUP,
        help=f"operations before them that are not measured ({WARMUP})",
    )
    parser.add_argument(
        "--series", action="store_true", help="the rows of the 2013 series only, and none beyond"
    )
    parser.add_argument(
        "--plain", action="store_true", help='print the series\' own form, "name cycles"'
    )
    parser.add_argument("--json", metavar="FILE", help='write one JSON object ("-": to stdout)')
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw a picture: .svg or .png")


def _from_1_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isdecimal() and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be a number from 1 to {most}")
        return int(text)

    return number


def run(args: argparse.Namespace) -> int:
    """Carry the verb out and return its exit code: 1 where writes were lost or counted twice."""
    _check_files(args)
    plan = Plan(args.rounds, args.samples, args.warmup, args.against == "qemu", not args.series)
    bench = run_bench(plan, _tell)
    _show(bench, args)  # first, so that a file which cannot be written costs no figures
    _write_json(bench, args.json)
    if args.plot:
        write_plot(args.plot, bench)
    for name in bench.void:
        sys.stderr.write(f"kvmabi bench: {name} is void: {bench.sides['kvmabi'][name].void}\n")
    return ExitCode.BROKEN if bench.void else ExitCode.KEPT


def _check_files(args: argparse.Namespace) -> None:
    """Refuse files that cannot be written, before anything is measured for them."""
    if args.plot:
        check_plot(args.plot)
    for name in filter(None, (args.plot, args.json)):
        folder = Path(name).parent
        if not folder.is_dir():
            raise UsageError(f"cannot write {name}: there is no folder {folder}")


def _tell(what: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"kvmabi bench: {what}\n")


def _show(bench: Bench, args: argparse.Namespace) -> None:
    from kvmabi.benching.report import plain, print_report, where  # noqa: PLC0415 (rich is slow)
    from kvmabi.results.terminal import summary_console  # noqa: PLC0415

    out = sys.stderr if args.json == "-" else sys.stdout
    if args.plain:
        out.write(plain(bench))
        sys.stderr.write("".join(f"{line}\n" for line in where(bench)))
    else:
        print_report(summary_console(stderr=args.json == "-"), bench)


def _write_json(bench: Bench, name: str | None) -> None:
    if not name:
        return
    text = json.dumps(to_json(bench), indent=1) + "\n"
    if name == "-":
        sys.stdout.write(text)
        return
    try:
        Path(name).write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror}") from None


if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("bench"))
