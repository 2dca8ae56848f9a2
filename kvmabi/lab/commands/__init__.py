"""The subcommands of ``kvmabi lab``: one module each, and the table that lists them."""

from __future__ import annotations

from typing import Final

from kvmabi.subcommands import Command, Subcommands

SUBCOMMANDS: Final = Subcommands(
    __name__,
    (
        Command(
            "run", "boot a kernel in an emulator that has virtualisation, and run a verb inside"
        ),
        Command("build", "build a kernel for the lab, from source, with changes and a flavour"),
        Command("compare", "run a verb in two kernels, and say what regressed in the new one"),
        Command("bisect", "find the commit of a kernel tree that broke a promise"),
    ),
)
