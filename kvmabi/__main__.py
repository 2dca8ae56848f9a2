"""``python -m kvmabi``, and the ``kvmabi`` command: Ctrl-C is one line from the first import on."""

import sys


def main() -> int:
    """Run ``kvmabi`` as a process of its own, and return its exit code."""
    try:
        import signal  # noqa: PLC0415 (inside the try, as all that takes time)

        from kvmabi.cli import main as run  # noqa: PLC0415

        code = run()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the verdict stands
    except KeyboardInterrupt:
        sys.stderr.write("kvmabi: interrupted\n")
        code = 130
    return code


if __name__ == "__main__":
    sys.exit(main())
