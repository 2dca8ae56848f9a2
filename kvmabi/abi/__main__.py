"""``kvmabi abi``: show, decode and verify KVM's ABI."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any, Protocol, cast

from kvmabi.abi.commands import COMMANDS


class _CommandModule(Protocol):
    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def _load(name: str) -> _CommandModule:
    return cast("_CommandModule", importlib.import_module(f"kvmabi.abi.commands.{name}"))


class _LateParser(argparse.ArgumentParser):
    """A subcommand's parser; it imports the subcommand when it is the one that was typed."""

    command: str | None = None

    def parse_known_args(  # type: ignore[override] # its overloads differ by version
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> Any:
        if self.command is not None:
            _load(self.command).add_arguments(self)
            self.command = None
        return super().parse_known_args(args, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", required=True, parser_class=_LateParser
    )
    for command in COMMANDS:
        sub = subparsers.add_parser(
            command.name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            epilog=parser.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.command = command.name


def run(args: argparse.Namespace) -> int:
    """Carry the subcommand out and return its exit code."""
    return _load(args.command).run(args)


if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("abi"))
