"""What a kernel's build needs of the machine, and the one command that installs what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import Final

from kvmabi.errors import ToolMissing
from kvmabi.lab.build.config import Flavour

PROGRAMS: Final = (
    ("make", "make"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("gzip", "gzip"),
    ("perl", "perl"),
)
"""Program, and the Debian package that has it. Source: Documentation/process/changes.rst."""
HEADERS: Final = (("stdio.h", "libc6-dev"), ("gelf.h", "libelf-dev"))
"""The same for headers: objtool and resolve_btfids read ELF files."""
PAHOLE: Final = ("pahole", "dwarves")


def check(kind: Flavour) -> None:
    """Raise ToolMissing, with the command for all that is missing, where a build cannot start."""
    require([*PROGRAMS, *([PAHOLE] if kind.needs_pahole else [])])
    missing = [row for row in HEADERS if not _has_header(row[0])]
    if missing:
        raise _missing(missing)


def require(rows: Iterable[tuple[str, str]]) -> None:
    """Raise ToolMissing unless each program, of a package, is there."""
    missing = [row for row in rows if shutil.which(row[0]) is None]
    if missing:
        raise _missing(missing)


def versions(kind: Flavour) -> str:
    """Return what the compiler, the linker and pahole say of themselves, a line each."""
    names = ["gcc", "ld", *(["pahole"] if kind.needs_pahole else [])]
    return "\n".join(f"{name}: {_version(name)}" for name in names)


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip()


def _has_header(name: str) -> bool:
    done = subprocess.run(
        ["gcc", "-E", "-x", "c", "-include", name, os.devnull],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _missing(rows: Iterable[tuple[str, str]]) -> ToolMissing:
    rows = list(rows)
    sudo = "" if os.geteuid() == 0 else "sudo "
    return ToolMissing(
        f"building a kernel needs {', '.join(name for name, _ in rows)}. Install it, then try "
        f"again:  {sudo}apt-get install -y --no-install-recommends "
        + " ".join(dict.fromkeys(package for _, package in rows))
    )
