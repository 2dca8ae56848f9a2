"""The subcommands of ``kvmabi abi``: one module each, and the table that lists them.

A subcommand is a module with two functions, like a verb: ``add_arguments(parser)``, and
``run(args)`` that returns an `ExitCode`. Adding one is a line in `COMMANDS`; only the module of the
one that runs is imported.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Command(NamedTuple):
    """A subcommand's name and its line in the help; its module here is called so too."""

    name: str
    help: str


COMMANDS: Final = (
    Command("show", "show structs, ioctls and constants as a person wants to see them"),
    Command("decode", "say which ioctl a number is"),
    Command("diff", "say what changes from one kernel's ABI to another's, and whom it hurts"),
    Command("verify", "prove the ABI against a C compiler, or against the running kernel"),
)
