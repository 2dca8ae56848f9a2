"""``python -m kvmabi.guest``: the verb, which is `kvmabi.run_guest`; this package is our guests."""

import sys

if __name__ == "__main__":
    from kvmabi.cli import main_verb

    sys.exit(main_verb("guest"))
