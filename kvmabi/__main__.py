"""``python -m kvmabi``: the same as the ``kvmabi`` command."""

import sys

from kvmabi.cli import main

if __name__ == "__main__":
    sys.exit(main())
