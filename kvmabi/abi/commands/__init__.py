"""The subcommands of ``kvmabi abi``: one module each, and the table that lists them."""

from __future__ import annotations

from typing import Final

from kvmabi.subcommands import Command, Subcommands

SUBCOMMANDS: Final = Subcommands(
    __name__,
    (
        Command("show", "show structs, ioctls and constants as a person wants to see them"),
        Command("decode", "say which ioctl a number is"),
        Command("diff", "say what changes from one kernel's ABI to another's, and whom it hurts"),
        Command("verify", "prove the ABI against a C compiler, or against the running kernel"),
    ),
)
