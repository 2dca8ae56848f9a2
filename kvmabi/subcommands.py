"""Verbs with subcommands: one module a subcommand, imported when it is the one that was typed.

Such a module has two functions, like a verb's: ``add_arguments(parser)``, and ``run(args)`` that
returns an `ExitCode`. Adding one is a line in its verb's table.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast


class Command(NamedTuple):
    """A subcommand's name and its line in the help; its module is called so too."""

    name: str
    help: str


class _CommandModule(Protocol):
    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


class _LateParser(argparse.ArgumentParser):
    """A subcommand's parser; it imports the subcommand when it is the one that was typed."""

    module: str = ""

    def parse_known_args(  # type: ignore[override] # its overloads differ by version
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> Any:
        if self.module:
            _load(self.module).add_arguments(self)
            self.module = ""
        return super().parse_known_args(args, namespace)


@dataclass(frozen=True, slots=True)
class Subcommands:
    """The subcommands of a verb, whose modules are in `package`."""

    package: str
    commands: tuple[Command, ...]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the subcommands."""
        subparsers = parser.add_subparsers(
            dest="command",
            metavar="COMMAND",
            title="commands",
            required=True,
            parser_class=_LateParser,
        )
        for command in self.commands:
            sub = subparsers.add_parser(
                command.name,
                help=command.help,
                description=command.help[0].upper() + command.help[1:] + ".",
                epilog=parser.epilog,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
            sub.module = f"{self.package}.{command.name}"

    def run(self, args: argparse.Namespace) -> int:
        """Carry the subcommand out and return its exit code."""
        return _load(f"{self.package}.{args.command}").run(args)


def _load(name: str) -> _CommandModule:
    return cast("_CommandModule", importlib.import_module(name))
