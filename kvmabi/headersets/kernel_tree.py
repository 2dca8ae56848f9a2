"""A kernel's source tree as a source of headers, sanitised here or by the tree's own make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from kvmabi.arch import ARCHITECTURES, Architecture
from kvmabi.errors import HeaderError, UsageError
from kvmabi.headersets.files import Files, FolderFiles
from kvmabi.headersets.installed import Installed
from kvmabi.headersets.origin import Origin
from kvmabi.headersets.sanitise import sanitise

_MAKE_TIMEOUT_S: Final = 900
_VERSION_TEXT: Final = """\
#define LINUX_VERSION_CODE {code}
#define KERNEL_VERSION(a,b,c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_MAJOR {0}
#define LINUX_VERSION_PATCHLEVEL {1}
#define LINUX_VERSION_SUBLEVEL {2}
"""


@dataclass(frozen=True, slots=True)
class KernelTree:
    """A kernel's sources, whose headers are sanitised as they are read.

    Trees from before `include/uapi` (Linux 3.7) are read from `include` and `arch/*/include/asm`.
    """

    files: Files
    origin: Origin
    _generic: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)

    def read(self, architecture: Architecture, name: str) -> bytes | None:
        """A header as programs get it; None if there is none."""
        if name == "linux/version.h":
            return self._version().encode()
        for path in _paths(architecture, name, old=self._old()):
            data = self.files.read(path)
            if data is not None:
                return _sanitised(data)
        folder, _, base = name.partition("/")
        if folder == "asm" and base in self._wrapped(architecture):
            return f"#include <asm-generic/{base}>\n".encode()
        return None

    def _old(self) -> bool:
        if "" not in self._generic:
            split = self.files.read("include/uapi/linux/kvm.h") is not None
            self._generic[""] = frozenset() if split else frozenset({"old"})
        return bool(self._generic[""])

    def _version(self) -> str:
        makefile = (self.files.read("Makefile") or b"").decode("utf-8", "replace")
        found = dict(
            re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d+)", makefile, re.MULTILINE)
        )
        try:
            numbers = [int(found[part]) for part in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
        except KeyError as missing:
            raise HeaderError(f"no line gives {missing.args[0]}", file="Makefile") from None
        code = numbers[0] << 16 | numbers[1] << 8 | min(numbers[2], 255)
        return _VERSION_TEXT.format(*numbers, code=code)

    def _wrapped(self, architecture: Architecture) -> frozenset[str]:
        """The asm headers that the build makes, to include those of asm-generic."""
        if architecture.name not in self._generic:
            lists = (
                "include/uapi/asm-generic/Kbuild",
                f"arch/{architecture.name}/include/uapi/asm/Kbuild",
                f"arch/{architecture.name}/include/asm/Kbuild",
            )
            text = "\n".join((self.files.read(path) or b"").decode() for path in lists)
            text = text.replace("\\\n", " ")
            lines = re.findall(r"^(?:generic|mandatory)-y\s*\+?=\s*(.*)$", text, re.MULTILINE)
            self._generic[architecture.name] = frozenset(" ".join(lines).split())
        return self._generic[architecture.name]


def _paths(architecture: Architecture, name: str, *, old: bool) -> tuple[str, ...]:
    top = f"arch/{architecture.name}/" if name.startswith("asm/") else ""
    paths = (f"{top}include/uapi/{name}", f"{top}include/{name}")
    return paths if old else paths[:1]


def _sanitised(data: bytes) -> bytes:
    try:
        return sanitise(data.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return sanitise(data.decode("latin-1")).encode("latin-1")


def make_headers(tree: Path, origin: Origin, out: Path) -> Installed:
    """The headers that the tree's own `make headers` gives, below the folder `out`.

    Takes the tree's word for all architectures that it has, in one build folder, and leaves the
    tree as it is. UsageError with the end of make's output where that fails.
    """
    build = out / "build"
    build.mkdir(parents=True)
    names = [name for name in ARCHITECTURES if (tree / "arch" / name).is_dir()]
    for name in names:
        shutil.rmtree(build / "usr" / "include" / "asm", ignore_errors=True)
        _make(tree, build, name)
        installed = build / "usr" / "include"
        (out / name).mkdir()
        (installed / "asm").rename(out / name / "asm")
    folders = {name: (name, "build/usr/include") for name in names}
    return Installed(FolderFiles(out), replace(origin, sanitised="make headers"), folders)


def _make(tree: Path, build: Path, name: str) -> None:
    jobs = f"-j{os.cpu_count() or 1}"
    command = ["make", "-s", jobs, "-C", str(tree), f"O={build}", f"ARCH={name}", "headers"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_MAKE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise UsageError(f"make cannot be run: {problem}") from None
    if done.returncode:
        end = "; ".join(line.strip() for line in done.stderr.splitlines()[-4:] if line.strip())
        raise UsageError(f"make headers fails for {name}: {end}")
