"""``kvmabi lab compare``: one verb in two kernels, and what regressed from one to the other."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.arguments import seconds
from kvmabi.errors import ExitCode, UsageError
from kvmabi.lab import child
from kvmabi.lab.backends import BACKENDS
from kvmabi.lab.child import Task
from kvmabi.lab.commands.run import DEFAULT_BACKEND
from kvmabi.lab.outputs import check_writable
from kvmabi.lab.pair import Side, play
from kvmabi.lab.pair_progress import PairProgress
from kvmabi.lab.words import RECORDING, UNRECORDED, inner_command
from kvmabi.results.store import STDOUT

COMPARABLE: Final = (*RECORDING, "probe")
"""The verbs whose results `kvmabi compare` can compare."""
SIDES: Final = ("old", "new")
FILES: Final = ("jsonl", "console", "out", "err")
"""What each side leaves: its result, what its kernel printed, and what the run itself said."""
TELLING: Final = (ExitCode.BROKEN, ExitCode.HARNESS_FAILED)
"""The exit codes of a run without a result after which the rest is worth a second look."""
SOUND: Final = (ExitCode.KEPT, ExitCode.BROKEN, ExitCode.NOTHING_CHECKED)
"""The exit codes of a run that came to its end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    for name in SIDES:
        parser.add_argument(
            f"--{name}",
            metavar="KERNEL",
            required=True,
            help=f"the {name} kernel: what lab run takes as --kernel",
        )
    for name in SIDES:
        parser.add_argument(
            f"--{name}-modules", metavar="DIR", help=f"the {name} kernel's modules, if not its own"
        )
    parser.add_argument(
        "--backend",
        choices=list(BACKENDS),
        default=DEFAULT_BACKEND,
        help="the back end of both (default: %(default)s); lab run --help tells what they are",
    )
    for name in SIDES:
        parser.add_argument(
            f"--{name}-backend", choices=list(BACKENDS), help=f"another one for the {name} kernel"
        )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=seconds,
        help="give a kernel up after this time (default: twice what lab run has)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="boot, and keep and use no snapshot of a booted kernel"
    )
    parser.add_argument(
        "--keep", metavar="DIR", help="keep both results and all that the kernels print here"
    )
    parser.add_argument("--json", metavar="FILE", help='write one JSON object ("-": to stdout)')
    parser.add_argument("--markdown", action="store_true", help="print Markdown, to be pasted")
    parser.add_argument(
        "words", nargs="*", metavar="-- VERB", help='matrix or probe with its options, behind "--"'
    )


def run(args: argparse.Namespace) -> int:
    """Carry the subcommand out and return its exit code: what `kvmabi compare` says, and the runs.

    What the runs say matters for a verb whose result has no word of how they ended.
    """
    refuse_what_gives_no_result(args.words)
    if args.json and args.json != STDOUT:
        check_writable("--json", args.json)
    with results_folder(args.keep) as folder:
        sides = [make_side(name, args, folder.path) for name in SIDES]
        with PairProgress(sides) as progress:
            codes = play(sides, watch=progress.refresh)
        _pass_on(sides, codes)
        code = _without_result(sides, codes)
        if code is not None:
            folder.wanted = code in TELLING
            return code
        folder.wanted = True
        code = _compare(sides, args)
        if args.words[0] not in RECORDING:
            code = _with_endings(code, codes["old"], codes["new"])
        folder.wanted = code != ExitCode.KEPT
    return code


def _with_endings(compared: int, old: int, new: int) -> int:
    """Return the exit code of both runs; say so where it is not that of the comparison."""
    code = of_both(old, new, compared)
    if code != compared:
        sys.stderr.write(
            f"kvmabi lab: the reports alone would give exit code {compared}, but the runs ended "
            f"with {old} (old) and {new} (new): {code}\n"
        )
    return code


def of_both(old: int, new: int, compared: int) -> int:
    """Return the exit code of two runs by theirs and by that of their results' comparison.

    As with cases, a new run that is unsound comes first; then what got worse (a log that complains
    is worse only beside one that does not); then that the old run is unsound, or that either could
    check nothing.
    """
    if new not in SOUND:
        return ExitCode.HARNESS_FAILED
    if compared == ExitCode.BROKEN or (new == ExitCode.BROKEN and old != ExitCode.BROKEN):
        return ExitCode.BROKEN
    if old not in SOUND:
        return ExitCode.HARNESS_FAILED
    if compared == ExitCode.KEPT and ExitCode.NOTHING_CHECKED in (old, new):
        return ExitCode.NOTHING_CHECKED
    return compared


def refuse_what_gives_no_result(words: Sequence[str]) -> None:
    """Raise UsageError for words of a verb that leave nothing to compare."""
    inner_command(list(words))
    if words[0] not in COMPARABLE:
        raise UsageError(f"{words[0]} gives nothing to compare: {' and '.join(COMPARABLE)} do")
    options = {word.partition("=")[0] for word in words}
    useless = sorted(options & UNRECORDED)
    if useless:
        raise UsageError(f"with {useless[0]}, {words[0]} gives nothing to compare: leave it out")
    if "--json" in options:
        raise UsageError('put --json before the "--": the JSON is that of the comparison')


@dataclass(slots=True)
class Folder:
    """Where the results lie. `wanted`: whether to leave and name a folder that nobody named."""

    path: Path
    wanted: bool = False


@contextmanager
def results_folder(keep: str | None) -> Iterator[Folder]:
    """Yield the folder that the user names, or one that goes again unless it is wanted."""
    if keep is not None:
        yield Folder(_made(Path(keep)))
        return
    folder = Folder(Path(tempfile.mkdtemp(prefix="kvmabi-compare-")))
    try:
        yield folder
    finally:
        if folder.wanted:
            sys.stderr.write(f"kvmabi lab: the results are in {folder.path}\n")
        else:
            shutil.rmtree(folder.path, ignore_errors=True)


def _made(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--keep {path}: {error.strerror}") from None
    return path


def make_side(name: str, args: argparse.Namespace, folder: Path) -> Side:
    """Return one side ("old" or "new") as `lab run` is to run it, with its files in a folder."""
    kernel = getattr(args, name)
    modules = getattr(args, f"{name}_modules")
    backend = getattr(args, f"{name}_backend") or args.backend
    deadline_s = args.deadline or 2 * BACKENDS[backend].emulator.deadline_s
    result, console, out, err = (folder / f"{name}.{kind}" for kind in FILES)
    words = (
        *("lab", "run", "--kernel", kernel, "--backend", backend),
        *(("--modules", modules) if modules else ()),
        *("--deadline", str(deadline_s)),
        *(("--fresh",) if args.fresh else ()),
        *("--log", str(console), "--"),
        *args.words,
        *("--json", str(result)),
    )
    _empty(result, console, out, err)
    return Side(kernel, Task(name, words, out, err), result)


def _empty(result: Path, *others: Path) -> None:
    """Begin a side's files anew, before anything runs; UsageError where that cannot be done."""
    try:
        result.unlink(missing_ok=True)  # else an earlier run's could pass for this one's
        for path in others:
            path.write_bytes(b"")
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from None


def _pass_on(sides: Sequence[Side], codes: Mapping[str, int]) -> None:
    """Pass on what the runs that ended said."""
    for side in sides:
        if side.task.name not in codes:
            continue
        for line in side.task.said.splitlines():
            sys.stderr.write(f"{side.task.name} ({side.kernel}): {line}\n")


def _without_result(sides: Sequence[Side], codes: Mapping[str, int]) -> int | None:
    """Return the exit code of a run that ended without a result; None where there is none."""
    failed = None
    for side in sides:
        code = codes.get(side.task.name)
        if code is not None and not side.has_result:
            failed = code if code > 0 else ExitCode.HARNESS_FAILED
    return failed


def _compare(sides: Sequence[Side], args: argparse.Namespace) -> int:
    words = ["compare", *(str(side.result) for side in sides)]
    words += ["--json", args.json] if args.json else []
    words += ["--markdown"] if args.markdown else []
    done = subprocess.run(child.command(words), env=child.environment(), check=False)
    return done.returncode if done.returncode >= 0 else ExitCode.HARNESS_FAILED
