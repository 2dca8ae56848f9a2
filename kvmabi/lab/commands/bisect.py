"""``kvmabi lab bisect``: the commit of a kernel tree that broke a promise."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

from kvmabi.arguments import seconds
from kvmabi.errors import ExitCode, UsageError
from kvmabi.ioeventfd.select import find, pattern_for, select
from kvmabi.lab.backends import BACKENDS, backend
from kvmabi.lab.bisect.drive import Bisection, Found
from kvmabi.lab.bisect.judge import Answer
from kvmabi.lab.bisect.tree import Git, environment, private_tree
from kvmabi.lab.build import changes, config, tools
from kvmabi.lab.child import environment as kvmabi_environment
from kvmabi.lab.commands.bisect_step import Plan
from kvmabi.lab.commands.run import DEFAULT_BACKEND
from kvmabi.lab.lifeline import heeding_ends
from kvmabi.lab.machine.emulator import check_tools
from kvmabi.lab.outputs import check_writable
from kvmabi.lab.words import inner_command

DEFAULT_FLAVOUR: Final = "tiny"
FAIL_FAST: Final = "--fail-fast"
STEP: Final = (sys.executable, "-P", "-m", "kvmabi.lab.commands.bisect_step")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument("tree", metavar="TREE", help="a git checkout of the kernel; it stays as is")
    parser.add_argument("--good", metavar="COMMIT", required=True, help="one that is as promised")
    parser.add_argument("--bad", metavar="COMMIT", required=True, help="a later one that is not")
    parser.add_argument(
        "--backend",
        choices=list(BACKENDS),
        default=DEFAULT_BACKEND,
        help="the back end (default: %(default)s); lab run --help tells what they are",
    )
    parser.add_argument(
        "--flavour",
        choices=list(config.FLAVOURS),
        default=DEFAULT_FLAVOUR,
        help="the configuration (default: %(default)s); lab build --help tells what they are",
    )
    parser.add_argument(
        "--patch",
        metavar="PATCH",
        action="append",
        default=[],
        help="change each commit before it is built: what lab build takes (may be repeated)",
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        default=os.cpu_count() or 1,
        help="how many compilers side by side (default: %(default)s)",
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=seconds,
        help="give a kernel up after this time (default: as lab run does)",
    )
    parser.add_argument(
        "--log", metavar="FILE", help="write the log to this file as well, as it comes"
    )
    parser.add_argument(
        "words",
        nargs="+",  # with "*", the first look at TREE would take them for none
        metavar="-- VERB",
        help='what is good and bad: a verb with its options, behind "--" (matrix --repro ID, say)',
    )


def run(args: argparse.Namespace) -> int:
    """Carry the subcommand out and return its exit code; the log of it goes to stdout."""
    words = judging_words(args.words)
    kind = config.flavour(args.flavour)
    for name in args.patch:
        changes.find_change(name)
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: at least one is needed")
    check_tools(backend(args.backend))
    tools.check(kind)
    if args.log:
        check_writable("--log", args.log)
    repository = Git(Path(args.tree))
    ends = Ends.of(repository, args.good, args.bad)
    with heeding_ends(), private_tree(repository, ends.good) as (folder, git):
        plan = Plan(
            folder=folder,
            words=words,
            backend=args.backend,
            flavour=kind.name,
            patches=tuple(_absolute(name) for name in args.patch),
            jobs=args.jobs,
            deadline_s=args.deadline,
            log=str(Path.cwd() / args.log) if args.log else None,
        )
        return _search(plan, git, ends)


@dataclass(frozen=True, slots=True)
class Ends:
    """The two commits, and what the user calls them, which means nothing in another checkout."""

    good: str
    bad: str
    good_label: str
    bad_label: str

    @classmethod
    def of(cls, repository: Git, good: str, bad: str) -> Self:
        """Return the ends; UsageError where they are none, or one."""
        ends = cls(
            repository.commit(good), repository.commit(bad), f"--good {good}", f"--bad {bad}"
        )
        if ends.good == ends.bad:
            raise UsageError(f"{ends.good_label} and {ends.bad_label} are one commit")
        return ends


def judging_words(words: Sequence[str]) -> tuple[str, ...]:
    """Return the verb's words as a step runs them: a case to repeat is a matrix of one case.

    So its records are kept, which tell a broken promise from a kernel that was lost. The first
    broken promise is enough.
    """
    inner_command(list(words))
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        option, _, value = word.partition("=")
        if option in ("--json", "--list"):
            raise UsageError(f"a bisection has no use for {option}: leave it out")
        if option == "--repro":
            found += ["--filter", pattern_for(find(value or next(rest, "")))]
        else:
            found.append(word)
    if found[0] == "matrix":
        select([value for option, value in pairwise(found) if option == "--filter"])
        found += [] if FAIL_FAST in found else [FAIL_FAST]
    return tuple(found)


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).is_file() else name


def _search(plan: Plan, git: Git, ends: Ends) -> int:
    if plan.log is not None:
        Path(plan.log).write_text("")
    bisection = Bisection(
        git=git,
        step=(*STEP, str(plan.write())),
        transcript=plan.folder / "transcript",
        why=plan.last_note,
        env={**environment(), "PYTHONPATH": kvmabi_environment()["PYTHONPATH"]},
    )
    try:
        bisection.check_end(ends.good_label, ends.good, Answer.GOOD)
        bisection.check_end(ends.bad_label, ends.bad, Answer.BAD)
        bisection.search(ends.good, ends.bad)
    finally:
        found = bisection.found()
        plan.write_log(f"{found.log}\n" if found.log else "")
        sys.stdout.write(log_text(plan, found))
    return _conclude(found)


def log_text(plan: Plan, found: Found) -> str:
    """Return what the steps noted, as comments, and git's own log: `git bisect replay` takes it."""
    notes = [f"# {line}" for line in plan.noted()]
    return "\n".join([*notes, *([found.log] if found.log else [])]) + "\n"


def _conclude(found: Found) -> int:
    """Say what is left to say, the log having ended with the first bad commit."""
    if found.skipped:
        sys.stderr.write(f"kvmabi lab: commits skipped: {found.skipped}\n")
    if found.first_bad:
        return ExitCode.KEPT
    sys.stderr.write(
        f"kvmabi lab: the first bad commit is one of the {len(found.candidates)} possible ones "
        "above: those between could be called neither good nor bad\n"
    )
    return ExitCode.NOTHING_CHECKED
