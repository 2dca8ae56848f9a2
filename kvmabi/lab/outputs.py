"""Files that are written only once much else has been done."""

from __future__ import annotations

from pathlib import Path

from kvmabi.errors import UsageError


def check_writable(option: str, name: str) -> Path:
    """Return the file that an option names, left as it is; UsageError where it cannot be written.

    A pipe is not tried: its reader would take the trial for the end.
    """
    path = Path(name)
    is_new = not path.exists()
    try:
        if is_new or path.is_file() or path.is_dir():
            path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise UsageError(f"{option} {name}: {error.strerror}") from None
    return path
