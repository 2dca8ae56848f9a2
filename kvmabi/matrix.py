"""``kvmabi matrix``: every case of the ioeventfd contract, on this kernel's KVM."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Final

from kvmabi import __version__, arch, uapi
from kvmabi.errors import ExitCode, UsageError
from kvmabi.ioeventfd.cases import all_cases
from kvmabi.ioeventfd.compare import Disagreement as Disagreed
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.detect import HeaderFlags, detect_kernel
from kvmabi.ioeventfd.known import Setting, known
from kvmabi.ioeventfd.offer import recorded
from kvmabi.ioeventfd.promises import PROMISES
from kvmabi.ioeventfd.repro import repro_apart
from kvmabi.ioeventfd.run import Supervisor, default_jobs
from kvmabi.ioeventfd.select import find, select, spread
from kvmabi.ioeventfd.steps import Case
from kvmabi.ioeventfd.worker import Report
from kvmabi.kvm import System
from kvmabi.kvm.host import Host, describe_host, ept_in_use
from kvmabi.results import CaseRecord, Disagreement, RunRecord, Tally, Verdict
from kvmabi.results.recorder import Recorder

HOPELESS: Final = 12
"""After so many cases that all ended in error, a run gives up: each may take its deadline."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="print the ids of the cases, and stop")
    what.add_argument(
        "--repro",
        metavar="ID",
        type=_filled,
        help="play one case alone, and show every ioctl, exit and signal",
    )
    parser.add_argument(
        "--filter",
        metavar="PATTERN",
        type=_filled,
        action="append",
        default=[],
        help="only cases whose id contains this, or fits it as a shell pattern (may be repeated)",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=_filled, help='write JSON lines ("-": to stdout)'
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        type=_filled,
        help="go on with the run whose JSON lines are in this file; cases in error run again",
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=_positive,
        help=f"VMs to play side by side (here: {default_jobs()})",
    )
    parser.add_argument(
        "--fail-fast",
        action="store_true",
        help="end at the first broken promise; cases come in an order that tries a little of all"
        " parts early",
    )
    parser.add_argument(
        "--first",
        metavar="PATTERN",
        type=_filled,
        action="append",
        default=[],
        help="with --fail-fast: cases that this fits come before all others (may be repeated)",
    )
    parser.add_argument(
        "--headers",
        metavar="DIR",
        help="the tested kernel's own headers (a source tree or an include folder, say): they give"
        " the valid flags where the kernel has no BTF",
    )


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be 1 or more")
    return number


def _filled(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def run(args: argparse.Namespace) -> int:
    """Carry the verb out and return its exit code."""
    if args.resume and args.json:
        raise UsageError("--resume already names the file that the results go to: leave --json out")
    _refuse_what_has_no_use(args)
    if args.first and not args.fail_fast:
        raise UsageError("--first says what --fail-fast looks at first: it needs that option")
    if args.repro:
        return _repro(args.repro, args.headers)
    cases = select(args.filter)
    if args.list:
        return _list(cases if args.filter else all_cases())
    with System.open() as system:
        kernel = _detect(system, args.headers)
    return _run_all(cases, kernel, args)


def _refuse_what_has_no_use(args: argparse.Namespace) -> None:
    """Raise UsageError for options that --repro or --list would silently ignore."""
    alone = "--repro" if args.repro else "--list" if args.list else ""
    others = ("json", "resume", "jobs", "fail-fast", *(("filter",) if args.repro else ()))
    useless = [f"--{name}" for name in others if alone and getattr(args, name.replace("-", "_"))]
    if useless:
        raise UsageError(f"{alone} has no use for {' and '.join(useless)}: leave that out")


def _list(cases: Sequence[Case]) -> int:
    for case in cases:
        note = f"\thazardous: {case.hazardous}" if case.hazardous else ""
        sys.stdout.write(f"{case.id}{note}\n")
    return ExitCode.KEPT


def _detect(system: System, headers: str | None) -> Kernel:
    if headers is None:
        return detect_kernel(system)
    from kvmabi.abi.sides import read_host_side  # noqa: PLC0415 (only who names headers reads them)

    side = read_host_side(headers)
    flags = HeaderFlags.of(side.facts[arch.host().name], side.label)
    kernel = detect_kernel(system, headers=flags)
    if note := flags.disagreement(kernel):
        sys.stderr.write(f"kvmabi matrix: note: {note}\n")
    return kernel


def _repro(case_id: str, headers: str | None) -> int:
    case = find(case_id)
    if case.hazardous:
        sys.stderr.write(f"kvmabi matrix: {case.id} is hazardous: it {case.hazardous}\n")
    with System.open() as system:
        kernel = _detect(system, headers)
    print(f"{_where()}, {_mask_text(kernel)}", flush=True)
    why_known = partial(known, case, setting=_setting(describe_host()), kernel=kernel)
    agreed = repro_apart(case, kernel, lambda line: print(line, flush=True), why_known)
    return ExitCode.KEPT if agreed else ExitCode.BROKEN


def _setting(host: Host) -> Setting:
    return Setting.of(host.kernel_release, host.back_end, ept=ept_in_use())


def _where() -> str:
    host = describe_host()
    return f"Linux {host.kernel_release}, {host.back_end}, {host.cpu_model}"


def _mask_text(kernel: Kernel) -> str:
    return f"valid flag mask {kernel.valid_flag_mask:#x} from {kernel.mask_source}"


def _run_all(cases: Sequence[Case], kernel: Kernel, args: argparse.Namespace) -> int:
    host = describe_host()
    judge = partial(known, setting=_setting(host), kernel=kernel)
    record = RunRecord(
        verb="matrix",
        kvmabi=__version__,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        host=asdict(host),
        abi={"version": uapi.ABI_VERSION, **recorded(kernel)},
        options={"filter": list(args.filter)},
        planned=len(cases),
    )
    order = spread(cases, args.first) if args.fail_fast else None
    supervisor = Supervisor(cases, kernel, jobs=args.jobs, order=order)  # before a file is touched
    noted = _say_notes(supervisor, 0)
    recorder = Recorder(record, json=args.json, resume=args.resume, promises=PROMISES)
    with recorder, closing(supervisor.run(recorder.ended_ids)) as batches:
        for reports in batches:
            records = [_record(cases[report.number], report, judge) for report in reports]
            recorder.add(*records)
            if _is_hopeless(recorder.tally):
                recorder.problem(
                    f"the first {recorder.tally.executed:,} cases all ended in error, and the rest "
                    f"was left: {recorder.tally.findings[0].reason}"
                )
                recorder.cut_short()
                break
            if args.fail_fast and any(record.verdict is Verdict.FAIL for record in records):
                if recorder.tally.executed < recorder.tally.planned:
                    recorder.cut_short()
                break
    _say_notes(supervisor, noted)
    return recorder.exit_code


def _is_hopeless(tally: Tally) -> bool:
    """Return whether nothing can be told here: where no guest starts, each case waits for one."""
    return HOPELESS <= tally.verdicts[Verdict.ERROR] == tally.executed < tally.planned


def _say_notes(supervisor: Supervisor, said: int) -> int:
    """Say on stderr what the supervisor noted behind the first `said` notes; return how many."""
    for note in supervisor.notes[said:]:
        sys.stderr.write(f"kvmabi matrix: note: {note}\n")
    return len(supervisor.notes)


def _record(
    case: Case, report: Report, why_known: Callable[[Case, Sequence[Disagreed]], str]
) -> CaseRecord:
    why = why_known(case, report.disagreements)
    return CaseRecord(
        id=case.id,
        verdict=_verdict(report, why),
        seconds=report.seconds,
        bus=case.bus,
        len=case.len,
        phase=case.phase,
        promises=report.promises,
        reason=why or _reason(report),
        disagreements=tuple(
            Disagreement(each.step, each.promise, each.expected, each.seen)
            for each in report.disagreements
        ),
    )


def _verdict(report: Report, why_known: str) -> Verdict:
    if report.error:
        return Verdict.ERROR
    if why_known:
        return Verdict.KNOWN
    return Verdict.FAIL if report.disagreements else Verdict.PASS


def _reason(report: Report) -> str:
    if report.disagreements:
        return f"seen in {report.seen_in} of {report.tries} tries"
    return report.error


if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("matrix"))
