"""``kvmabi abi``: show, decode and verify KVM's ABI."""

import sys

from kvmabi.abi.commands import SUBCOMMANDS

add_arguments = SUBCOMMANDS.add_arguments
run = SUBCOMMANDS.run

if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("abi"))
