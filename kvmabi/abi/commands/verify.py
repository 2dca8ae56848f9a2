"""``kvmabi abi verify``: the ABI compared, fact by fact, with a compiler or the running kernel."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from kvmabi import arch
from kvmabi.abi import proof_functions, snapshot
from kvmabi.abi.build import read_abi
from kvmabi.abi.commands import options
from kvmabi.abi.compare import Comparison
from kvmabi.abi.emit import ModuleSource, emit_module, in_abi
from kvmabi.abi.model import Abi
from kvmabi.abi.module_check import compare_module
from kvmabi.abi.proof import Proof
from kvmabi.abi.running import compare_running
from kvmabi.abi.sides import SIDE_FORMS, read_host_side
from kvmabi.abi.trees import named_trees, ziglang_folder, ziglang_tree
from kvmabi.arch import Architecture
from kvmabi.errors import ExitCode, UsageError
from kvmabi.header import HeaderTree
from kvmabi.headersets.sources import FORMS

# The columns of the table, and the kinds of facts that each counts.
COLUMNS = {
    "structs": ("record names", "record sizes", "alignments"),
    "fields": (
        "field lists",
        "field offsets",
        "field sizes",
        "field types",
        "bit-fields",
        "field places",
    ),
    "enumerators": ("enumerators", "enumerator values"),
    "macros": ("macros", "macro types", "macro names"),
    "ioctls": ("ioctls",),
    "functions": ("function macros",),
    "module": ("module",),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    options.add_architecture(parser, "all that there are headers of")
    parser.add_argument(
        "--headers",
        metavar="SOURCE",
        help=f"prove what kvmabi reads out of these headers: {FORMS}",
    )
    parser.add_argument(
        "--running",
        action="store_true",
        help="compare with the types in the running kernel's BTF instead of with a compiler;"
        f" --headers may then be {SIDE_FORMS} (default: the newest snapshot that is not newer)",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="list what was left out, and why"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Carry the subcommand out and return its exit code."""
    if args.running:
        return _run_running(args)
    ziglang_folder()
    everyone = list(arch.ARCHITECTURES.values())
    wanted = options.architectures(args.arch, everyone)
    if not args.headers:
        return _report({one.name: _shipped(one) for one in wanted}, args)
    with named_trees(args.headers, wanted) as trees:
        missing = [one.name for one in wanted if one not in trees]
        if missing and args.arch:
            raise UsageError(f"{args.headers} has no headers of {', '.join(missing)}")
        return _report({one.name: _users(one, tree) for one, tree in trees.items()}, args)


def _run_running(args: argparse.Namespace) -> int:
    host = arch.host()
    if options.architectures(args.arch, [host]) != [host]:
        raise UsageError(f"--running is about this kernel, whose architecture is {host.name}")
    release = os.uname().release
    side = read_host_side(args.headers or snapshot.nearest(release))
    result = compare_running(side.facts[host.name])
    show = options.printer(args.json)
    chosen = "" if args.headers else " (the newest that kvmabi has and that is not newer)"
    show(f"The ABI of {side.label}{chosen}, and the running kernel {release}.")
    code = _report({host.name: result}, args)
    if result.differences and snapshot.numbers(side.version) != snapshot.numbers(release):
        show("These are two versions: what differs may be what changed between them.")
    return code


def _report(results: dict[str, Comparison], args: argparse.Namespace) -> int:
    show = options.printer(args.json)
    for line in [*table(results), *details(results, verbose=args.verbose)]:
        show(line)
    if args.json:
        options.write_json(args.json, as_json(results))
    return exit_code(results)


def _shipped(architecture: Architecture) -> Comparison:
    tree = ziglang_tree(architecture)
    abi = read_abi(tree, architecture)
    return compare(abi, tree, shipped_module(architecture))


def _users(architecture: Architecture, tree: HeaderTree) -> Comparison:
    abi = read_abi(tree, architecture)
    return compare(abi, tree, generated_module(abi))


def compare(abi: Abi, tree: HeaderTree, module: dict[str, Any]) -> Comparison:
    """What a compiler says about the headers, beside what kvmabi reads and generates from them."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{abi.architecture.name}: comparing with the compiler\n")
    proof = Proof(abi, tree)
    comparison = proof.run()
    compare_module(module, abi, comparison)
    calls = list(proof_functions.calls(abi))
    theirs = proof_functions.results(proof.work_out(proof_functions.source(calls)))
    proof_functions.compare(calls, theirs, module, comparison)
    for macro in abi.functions.values():
        if macro.reason and in_abi(macro.origin):
            comparison.exclude(macro.name, macro.reason)
    return comparison


def shipped_module(architecture: Architecture) -> dict[str, Any]:
    """The names of the module that kvmabi has for an architecture."""
    return dict(vars(importlib.import_module(f"kvmabi.uapi.{architecture.name}")))


def generated_module(abi: Abi) -> dict[str, Any]:
    """The names of the module that an Abi makes."""
    text = emit_module(ModuleSource(abi, abi, "", "these headers"))
    names: dict[str, Any] = {"__name__": "generated"}
    exec(compile(text, "<generated>", "exec", dont_inherit=True), names)  # noqa: S102 (our own text)
    return names


def exit_code(results: dict[str, Comparison]) -> ExitCode:
    """0 where all agree, 1 where something differs, 3 where there was nothing to compare."""
    if any(result.differences for result in results.values()):
        return ExitCode.BROKEN
    if not results or not all(result.counts.total() for result in results.values()):
        return ExitCode.NOTHING_CHECKED
    return ExitCode.KEPT


def table(results: dict[str, Comparison]) -> list[str]:
    """The lines of the table: one row an architecture, facts compared by kind."""
    used = {kind for result in results.values() for kind in result.counts}
    columns = {name: kinds for name, kinds in COLUMNS.items() if used & set(kinds)}
    rows = [["", *columns, "all", "differ", "left out"]]
    for name, result in results.items():
        counts = [str(sum(result.counts[kind] for kind in kinds)) for kinds in columns.values()]
        totals = (result.counts.total(), len(result.differences), len(result.exclusions))
        rows.append([name, *counts, *map(str, totals)])
    return ["Facts compared:", *aligned(rows)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is text and whose others are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def details(results: dict[str, Comparison], *, verbose: bool) -> list[str]:
    """Each difference; with `verbose` also what was left out, with its reason."""
    lines: list[str] = []
    for name, result in results.items():
        lines += [f"{name}: {difference}" for difference in result.differences]
        if verbose:
            lines += [f"{name}: left out: {one.subject}: {one.reason}" for one in result.exclusions]
    return lines


def as_json(results: dict[str, Comparison]) -> dict[str, object]:
    """The results as JSON: counts, differences and exclusions for each architecture."""
    return {
        name: {
            "compared": dict(result.counts),
            "differences": [
                {"subject": d.subject, "fact": d.fact, "ours": d.ours, "theirs": d.theirs}
                for d in result.differences
            ],
            "left_out": [{"subject": e.subject, "reason": e.reason} for e in result.exclusions],
        }
        for name, result in results.items()
    }
