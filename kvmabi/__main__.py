"""``python -m kvmabi``, and the ``kvmabi`` command: Ctrl-C is one line from the first import on."""

import sys


def main() -> int:
    """Run ``kvmabi`` as a process of its own, and return its exit code."""
    import signal  # noqa: PLC0415 (next to nothing, and before all that takes time)

    try:
        from kvmabi.cli import main as run  # noqa: PLC0415

        code = run()
    except KeyboardInterrupt:
        sys.stderr.write("kvmabi: interrupted\n")
        code = 130
    # The verdict stands. Blocked, not ignored: where Ctrl-C fell into exec() the interpreter sends
    # itself SIGINT at its end, and has exit code 130 only if that does not come through.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    return code


if __name__ == "__main__":
    sys.exit(main())
