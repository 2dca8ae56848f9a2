"""``kvmabi headers``: import kernel headers, and regenerate what the repository keeps of them."""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import kvmabi
from kvmabi.abi import regenerate, snapshot
from kvmabi.abi.diff import diff_facts
from kvmabi.abi.diff.report import Report
from kvmabi.abi.sides import overlay_source
from kvmabi.arch import ARCHITECTURES
from kvmabi.errors import ExitCode, HeaderError, UsageError
from kvmabi.headersets import store as sets
from kvmabi.headersets.collect import collect
from kvmabi.headersets.origin import Source, series_of
from kvmabi.headersets.sources import FORMS, is_tree, open_source

_ROOT = Path(kvmabi.__file__).resolve().parents[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their options."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    one = commands.add_parser("import", help="keep a set of headers, in place of one of that name")
    one.add_argument("source", metavar="SOURCE", help=FORMS)
    one.add_argument("--name", help="the set's name (default: linux-VERSION)")
    one.add_argument(
        "--overlay", metavar="OVERLAY", action="append", default=[],
        help="a header of your own, or the name of one of ours, read behind linux/kvm.h",
    )  # fmt: skip
    one.add_argument(
        "--include", metavar="HEADER", action="append", default=[],
        help="import this header too (linux/vfio.h), with all that it includes",
    )  # fmt: skip
    _add_sanitise(one, "auto")
    two = commands.add_parser("update", help="regenerate modules and snapshots from a source")
    two.add_argument(
        "source", metavar="SOURCE", nargs="?", default="ziglang", help=f"{FORMS} (ziglang)"
    )
    two.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if anything would change"
    )
    two.add_argument(
        "--root", type=Path, default=_ROOT, metavar="DIR", help="the checkout to update"
    )
    _add_sanitise(two, "kvmabi")
    three = commands.add_parser("list", help="list the imported sets and the snapshots")
    for command in (one, two, three):
        command.add_argument(
            "--into", type=Path, metavar="DIR", default=sets.default_store(),
            help="the folder that the sets are in (default: %(default)s)",
        )  # fmt: skip


def _add_sanitise(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--sanitise", choices=("auto", "make", "kvmabi"), default=default,
        help="who makes headers for programs of a source tree's: the tree's own make, or kvmabi,"
        " which gives the same bytes in a second (default: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Carry the verb out and return its exit code."""
    commands = {"import": _import, "update": _update, "list": _list}
    return commands[args.command](args)


def _open(source: str, args: argparse.Namespace) -> AbstractContextManager[Source]:
    by_make = args.sanitise == "make" or (args.sanitise == "auto" and _can_make(source))
    if by_make:
        _note(
            "the tree's own make sanitises the headers: some minutes (--sanitise kvmabi: seconds)"
        )
    return open_source(source, args.into, sanitiser="make" if by_make else "kvmabi")


def _can_make(source: str) -> bool:
    if not is_tree(source):
        return False
    missing = [tool for tool in ("make", "cc") if shutil.which(tool) is None]
    if missing:
        _note(f"no {' and no '.join(missing)} here, so kvmabi sanitises the headers itself")
    return not missing


def _import(args: argparse.Namespace) -> int:
    overlays = [overlay_source(name) for name in args.overlay]
    with _open(args.source, args) as source:
        collected = collect(source, more=args.include)
        missing = [name for name in args.include if not _has(collected.files, name)]
        if missing:
            raise UsageError(f"{source.origin.name} has no {', '.join(missing)}")
        name = args.name or f"linux-{collected.version}"
        kept = sets.save(collected, source.origin, args.into, name, overlays)
    sys.stdout.write(_line(name, kept))
    return ExitCode.KEPT


def _has(files: dict[str, bytes], name: str) -> bool:
    return any(path.partition("/")[2] == name for path in files)


def _update(args: argparse.Namespace) -> int:
    given = args.source
    if (args.into / given).is_symlink():
        given = sets.HeaderSet.load(args.into / given).origin.given
    with _open(given, args) as source:
        made = regenerate.generate(source, args.root)
        stale = regenerate.stale(made.files, args.root)
        report = _difference(made, args.root)
        if stale and not args.check:
            sets.save(made.collected, source.origin, args.into, f"linux-{made.version}")
            regenerate.write({name: made.files[name] for name in stale}, args.root)
    for name in stale:
        sys.stdout.write(f"{name}: {'would change' if args.check else 'written'}\n")
    if not stale:
        sys.stdout.write(f"{len(made.files)} files are up to date with Linux {made.version}\n")
    elif report is not None:
        from rich.console import Console  # noqa: PLC0415 (only where there is something to show)

        report.show(Console())
    return ExitCode.BROKEN if stale and args.check else ExitCode.KEPT


def _difference(made: regenerate.Generated, root: Path) -> Report | None:
    """What the update brings: against the snapshot of its name, or the one that modules are of."""
    folder = root / regenerate.SNAPSHOTS
    known = snapshot.names(folder)
    names = (made.name, series_of(regenerate.current_version(root)))
    name = next((name for name in names if name in known), None)
    if name is None:
        return None
    old = snapshot.load(name, folder=folder)
    both = tuple(one for one in ARCHITECTURES if one in old.facts and one in made.facts)
    changes = tuple(diff_facts(old.facts, made.facts))
    return Report(f"Linux {old.version}", f"Linux {made.version}", changes, both)


def _list(args: argparse.Namespace) -> int:
    imported = sets.names(args.into)
    if not imported:
        _note(f"no sets are imported in {args.into}")
    for name in imported:
        try:
            sys.stdout.write(_line(name, sets.HeaderSet.load(args.into / name)))
        except HeaderError as error:
            sys.stdout.write(f"{name}: cannot be used: {error}\n")
    for name in snapshot.names():
        found = snapshot.load(name)
        sys.stdout.write(f"{name}: snapshot of Linux {found.version}, {', '.join(found.facts)}\n")
    return ExitCode.KEPT


def _line(name: str, kept: sets.HeaderSet) -> str:
    overlays = [Path(one.name).stem for one in kept.overlays()]
    tail = f", with {', '.join(overlays)}" if overlays else ""
    origin = f"{kept.origin.name} ({kept.origin.kind}, sanitised by {kept.origin.sanitised})"
    what = f"{len(kept.sha256)} files, {', '.join(kept.architectures)}"
    return f"{name}: Linux {kept.version} from {origin}, {what}{tail}\n"


def _note(text: str) -> None:
    sys.stderr.write(f"kvmabi headers: {text}\n")


if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("headers"))
