"""The command line: which exit code, whatever comes, and nothing else."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from kvmabi import verbs
from kvmabi.errors import ExitCode, KvmAbiError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

INTERRUPTED: Final = 128 + 2
"""The exit code after Ctrl-C, as a shell gives it (128 + SIGINT)."""

BROKEN_PIPE: Final = 128 + 13
"""The exit code where the reader of our output went away (128 + SIGPIPE)."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Why output cannot be written, where a stream that keeps nothing back fails but once."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``kvmabi`` and return its exit code; the console script calls this.

    argparse raises SystemExit for usage errors (2), ``--help`` and ``--version`` (0).
    """
    _open_missing_stdio()
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((one for one in arguments if not one.startswith("-")), None)
    try:
        return _dispatch(arguments, verb)
    except KvmAbiError as error:
        _say(verb, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say(verb, "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 (exit 1 would say that the kernel broke a promise)
        _failed(verb, error)
        return ExitCode.HARNESS_FAILED
    finally:
        _let_go_of_lost_output()


def main_verb(name: str) -> int:
    """Run one verb with the process's arguments: ``python -m kvmabi.NAME``."""
    return main([name, *sys.argv[1:]])


def _dispatch(arguments: list[str], verb: str | None) -> int:
    try:
        code = _run(arguments, verb)
    except SystemExit:  # from argparse, which may have printed help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _run(arguments: list[str], verb: str | None) -> int:
    parser = verbs.make_parser(verb)
    args = parser.parse_args(arguments)
    if args.verb is None:
        parser.print_help(sys.stderr)
        return ExitCode.USAGE
    return verbs.load(args.verb).run(args)


def _failed(verb: str | None, error: Exception) -> None:
    """Say why: in one line where output cannot be written, else as the bug that it is."""
    if isinstance(error, OSError) and (_is_lost(sys.stdout) or error.errno in _NO_ROOM):
        _say(verb, f"cannot write the output: {error.strerror}")
        return
    with suppress(OSError):
        traceback.print_exc()
    _say(verb, "this is a bug in kvmabi, and says nothing about the kernel")


def _say(verb: str | None, text: str) -> None:
    with suppress(OSError):  # the exit code still tells
        sys.stderr.write(f"kvmabi {verb}: {text}\n" if verb else f"kvmabi: {text}\n")


def _open_missing_stdio() -> None:
    """Have /dev/null stand in for closed standard streams, whose numbers others would get."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _is_lost(stream: TextIO) -> bool:
    """Whether what a stream still holds cannot be written."""
    try:
        stream.flush()
    except OSError:
        return True
    return False


def _let_go_of_lost_output() -> None:
    """Point what cannot be written nowhere: the interpreter's last flush would fail by exit 120."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        if _is_lost(stream):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, fd)
            os.close(nowhere)
