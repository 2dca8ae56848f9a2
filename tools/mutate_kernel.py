"""Seed faults into a kernel's KVM, one at a time, and see whether the matrix notices each.

Each fault is built, booted in the lab and looked for: first where it is likely to show, then by
the whole matrix, up to the first case that fails. Every case that killed is then played on the
kernel without a fault, where it must pass. Changes without a meaning must survive.

Exit code 0: of those that were tried, every fault that can be seen was killed, and every control
survived. How many were left out, and what they need, is told.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from kvmabi.errors import ExitCode, KvmAbiError, UsageError
from kvmabi.lab.build import config, tools
from kvmabi.lab.build.sources import Source, find_source
from kvmabi.lab.build.workspace import Workspace
from kvmabi.lab.mutation.campaign import Campaign
from kvmabi.lab.mutation.faults import Fault, Needs, choose, read_faults
from kvmabi.lab.mutation.record import Basis, exit_code
from kvmabi.lab.mutation.report import left_out, listing, table
from kvmabi.lab.mutation.trial import GROUNDS, Ground, Site, own_workspace

FAULTS = Path(__file__).parent / "faults"
DEFAULT_SOURCE = "debian:linux-source-6.1"


def main() -> int:
    """Print what becomes of each fault."""
    args = _parser().parse_args()
    faults = _asked_for(args)
    if args.list:
        print(listing(faults))
        return ExitCode.KEPT
    tried = _to_try(faults, args)
    source = find_source(args.source, _say)
    with tempfile.TemporaryDirectory() as folder:
        record = Path(args.json or Path(folder, "faults.jsonl"))
        campaign = Campaign(_sites(args, source), Basis.of(source), record, _say)
        ended = campaign.run(tried, again=bool(args.names))
    print(table(ended))
    if left := left_out(faults, ended):
        print(left)
    return exit_code(ended)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="these faults, and no others")
    parser.add_argument("--list", action="store_true", help="print the faults, and stop")
    parser.add_argument(
        "--filter", metavar="TEXT", help="only faults whose name or subject has this in it"
    )
    parser.add_argument(
        "--backend", choices=sorted({one.backend for one in GROUNDS.values()}), default="svm"
    )
    parser.add_argument(
        "--all", action="store_true", help="also those that need another back end or a debug kernel"
    )
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        default=DEFAULT_SOURCE,
        help="a kernel source tree, an archive, or a package (default: %(default)s)",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="keep a line for each fault that ended; those in it already are not tried again",
    )
    parser.add_argument(
        "--work",
        metavar="DIR",
        help="build there (default: one place in the cache for each source)",
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=0, help="compilers side by side")
    return parser


def _asked_for(args: argparse.Namespace) -> list[Fault]:
    faults = read_faults(FAULTS)
    if args.names:
        return choose(faults, args.names)
    text = args.filter or ""
    fitting = [one for one in faults if text in one.name or text in one.subject]
    if not fitting:
        raise UsageError("no fault fits; --list shows them")
    return fitting


def _to_try(faults: list[Fault], args: argparse.Namespace) -> list[Fault]:
    wanted = Needs.SVM if args.backend == "svm" else Needs.VMX
    tried = [one for one in faults if args.all or args.names or one.needs is wanted]
    if not tried:
        raise UsageError(f"no fault that fits can be tried as asked:\n{left_out(faults, [])}")
    return tried


def _sites(args: argparse.Namespace, source: Source) -> Callable[[Ground], Site]:
    def site(ground: Ground) -> Site:
        tools.check(config.flavour(ground.flavour))
        if args.work:
            place = Workspace(Path(args.work).resolve() / ground.kernel)
        else:
            place = own_workspace(source, ground)
        return Site(source, ground, place, args.jobs)

    return site


def _say(text: str) -> None:
    print(f"mutate_kernel: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KvmAbiError as error:
        print(f"mutate_kernel: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
