"""``kvmabi lab``: run any verb inside another kernel."""

import sys

from kvmabi.lab.commands import SUBCOMMANDS

add_arguments = SUBCOMMANDS.add_arguments
run = SUBCOMMANDS.run

if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("lab"))
