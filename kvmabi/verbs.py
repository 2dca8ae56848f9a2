"""The verbs: their names, and the parser that takes their words.

A verb is a module with two functions: ``add_arguments(parser)``, and ``run(args)`` that returns an
`ExitCode`. Adding one is a line in `VERBS`. Only the module of the verb that is asked for is
imported.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Final, NamedTuple, Protocol, cast

from kvmabi import __version__

_EPILOG: Final = """\
exit codes: 0 all as promised; 1 a promise broken; 2 usage; 3 nothing could be checked (no KVM, or
all skipped); 4 the harness failed, or the kernel under test was lost
"""


class Verb(NamedTuple):
    """A verb's name, the module that carries it out, and its line in the help."""

    name: str
    module: str
    help: str


class VerbModule(Protocol):
    """What a verb's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's own arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Carry the verb out and return its exit code."""


VERBS: Final = (
    Verb("probe", "kvmabi.probe", "report what this kernel's KVM offers, by name"),
    Verb("matrix", "kvmabi.matrix", "check every ioeventfd promise of this kernel, case by case"),
    Verb("compare", "kvmabi.compare", "say of two results what regressed from one to the other"),
    Verb("guest", "kvmabi.run_guest", "boot a multiboot image beside pci-testdev"),
    Verb("bench", "kvmabi.bench", "measure what a write to a device costs a guest"),
    Verb("lab", "kvmabi.lab.__main__", "run any verb inside another kernel, without KVM hardware"),
    Verb("headers", "kvmabi.headers", "import kernel headers, and regenerate what is kept of them"),
    Verb("abi", "kvmabi.abi.__main__", "show KVM's ABI of every architecture, and prove it"),
)


def make_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``kvmabi``; only the `chosen` verb's arguments are in it."""
    parser = argparse.ArgumentParser(
        prog="kvmabi",
        description="Check that a kernel keeps KVM's ioeventfd promises.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kvmabi {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for verb in VERBS:
        sub = subparsers.add_parser(
            verb.name,
            help=verb.help,
            description=verb.help[0].upper() + verb.help[1:] + ".",
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if verb.name == chosen:
            load(verb.name).add_arguments(sub)
    return parser


def load(name: str) -> VerbModule:
    """Return a verb's module."""
    module = next(verb.module for verb in VERBS if verb.name == name)
    return cast("VerbModule", importlib.import_module(module))
