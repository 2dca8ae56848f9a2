"""The root file system of a kernel under test: a small Python from Debian's packages, and kvmabi.

Nothing is installed: the files come out of the packages, are compiled by that same Python, and go
into an initramfs without their sources, which halves it. The same packages give the same bytes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import kvmabi
from kvmabi.errors import LabUnavailable
from kvmabi.lab import apt, cache
from kvmabi.lab.archive import Entry, entries
from kvmabi.lab.rootfs import cpio

LIBRARIES: Final = ("libc6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8")
RUNTIME: Final = ("ioctl_opt", "elftools", "rich")
"""The import names of what kvmabi needs at run time."""
PACKED: Final = (".py", ".elf", ".txt", ".json", ".h")
"""What a package's files end in that are of use: code, guests, and the ABI's snapshots."""
CODE_FOLDER: Final = "kvmabi"
"""Where kvmabi and its dependencies are in the initramfs."""
_SHARED: Final = re.compile(
    r"usr/lib/x86_64-linux-gnu/"
    r"(ld-linux-x86-64|lib(c|m|dl|pthread|rt|util|gcc_s|z|expat|ffi))[.-][^/]*|usr/lib64/ld-.*"
)
_LEFT_OUT: Final = re.compile(
    r"(curses|dbm|distutils|ensurepip|idlelib|lib2to3|pydoc_data|sqlite3|test|tkinter|turtledemo|"
    r"venv|config-[^/]*)/|encodings/(?!__init__|aliases|ascii|latin_1|utf_8|idna|"
    r"raw_unicode|unicode_escape|cp437)|lib-dynload/(_ssl|_hashlib|_curses|_sqlite3|_tkinter|_dbm|"
    r"_gdbm|_bz2|_lzma|_uuid|nis|readline|_crypt|_codecs_|audioop|ossaudiodev|_test|_xx|xx)"
)
"""What of the standard library is too large for its use here, or lacks its C library."""
_COMPILE: Final = """\
import json, py_compile, sys
for source, shown in json.load(sys.stdin):
    py_compile.compile(source, source + "c", shown, doraise=True,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
INIT: Final = """\
#!/usr/bin/{python} -ISB
import sys
sys.path.insert(0, "/{folder}")
from kvmabi.lab.inside.init import main
main()
"""


class Userland:
    """The two archives that every kernel under test gets; each is made once and then cached."""

    def __init__(self) -> None:
        self.python = _python_name()
        names = [f"{self.python}-minimal", f"lib{self.python}-minimal", f"lib{self.python}-stdlib"]
        self.packages = _known([*names, *LIBRARIES])
        self._recipe = Path(__file__).read_bytes() + Path(cpio.__file__).read_bytes()

    def python_archive(self) -> Path:
        """Return the archive with Python and its libraries."""
        key = cache.digest(self._recipe, *(package.sha256 for package in self.packages))
        path = cache.folder("initramfs") / f"python-{key}.cpio"
        return cache.made(path, lambda: cpio.archive(self._compiled(self._python_files(), "")))

    def code_archive(self) -> Path:
        """Return the archive with /init, kvmabi and what it needs at run time."""
        sources = list(code_files())
        init = Entry("init", 0o755, INIT.format(python=self.python, folder=CODE_FOLDER).encode())
        parts = [part for one in [*sources, init] for part in (one.path.encode(), one.data)]
        packages = (package.sha256 for package in self.packages)
        key = cache.digest(self._recipe, *packages, *parts)
        path = cache.folder("initramfs") / f"code-{key}.cpio"
        return cache.made(path, lambda: cpio.archive([init, *self._compiled(sources, CODE_FOLDER)]))

    def _python_files(self) -> list[Entry]:
        library = f"usr/lib/{self.python}/"
        program = f"usr/bin/{self.python}"

        def wanted(path: str) -> bool:
            path = merged(path)
            if path.startswith(library):
                return not _LEFT_OUT.match(path.removeprefix(library))
            return path == program or bool(_SHARED.fullmatch(path))

        files = {
            merged(one.path): Entry(merged(one.path), one.mode, one.data, one.target)
            for package in self.packages
            for one in entries(apt.fetch(package), wanted)
        }
        links = [Entry(name, 0o777, target=f"usr/{name}") for name in ("lib", "lib64")]
        return [*files.values(), *links]

    def _compiled(self, files: Sequence[Entry], below: str) -> list[Entry]:
        """Replace sources by what the packages' own Python compiles them to."""
        with tempfile.TemporaryDirectory(dir=cache.folder("initramfs"), prefix=".new-") as name:
            root = Path(name)
            _write_all(root, self._python_files() if below else files)
            if below:
                _write_all(root, files)
            sources = [one for one in files if one.path.endswith(".py")]
            self._compile(root, [one.path for one in sources])
            made = [
                Entry(one.path + "c", 0o644, (root / (one.path + "c")).read_bytes())
                for one in sources
            ]
        return [*(one for one in files if one not in sources), *made]

    def _compile(self, root: Path, paths: Iterable[str]) -> None:
        shared = root / "usr/lib/x86_64-linux-gnu"
        loader = next(iter(shared.glob("ld-linux-x86-64.so*")), None)
        if loader is None:
            raise LabUnavailable(
                f"apt's {self.python} is for another CPU: the lab's kernels are x86-64, and so "
                "must be the machine that runs it"
            )
        program = [loader, "--library-path", shared, root / "usr/bin" / self.python, "-ISB"]
        try:
            done = subprocess.run(
                [*map(str, program), "-c", _COMPILE],
                input=json.dumps([[str(root / path), "/" + path] for path in paths]),
                env={"PYTHONHOME": str(root / "usr"), "PYTHONHASHSEED": "0"},
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise LabUnavailable(
                f"no program can be run in {root.parent} ({error.strerror}), where the lab's "
                "Python compiles what it will run: name another folder with KVMABI_CACHE"
            ) from error
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise LabUnavailable(f"the packages' {self.python} does not run here: {''.join(last)}")


def merged(path: str) -> str:
    """Return a package's path in a file system where /lib and /lib64 are links into /usr."""
    return f"usr/{path}" if path.startswith(("lib/", "lib64/")) else path


def code_files() -> Iterator[Entry]:
    """Yield kvmabi's files and those of what it needs at run time, as they are here."""
    yield from _package_files(Path(kvmabi.__file__).parent)
    for name in RUNTIME:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise LabUnavailable(f"{name} is not installed beside kvmabi: pip install kvmabi")
        yield from _package_files(Path(spec.origin).parent, only=name)


def _package_files(folder: Path, only: str = "") -> Iterator[Entry]:
    root = folder.parent
    if only and folder.name != only:  # a single module
        root, found = folder, [folder / f"{only}.py"]
    else:
        found = [path for path in folder.rglob("*") if path.suffix in PACKED]
    for path in sorted(found):
        name = PurePosixPath(CODE_FOLDER, *path.relative_to(root).parts)
        yield Entry(str(name), 0o644, path.read_bytes())


def _write_all(root: Path, files: Iterable[Entry]) -> None:
    for one in files:
        path = root / one.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if one.target:
            path.symlink_to(one.target)
        else:
            path.write_bytes(one.data)
            path.chmod(one.mode)


def _python_name() -> str:
    name = os.environ.get("KVMABI_LAB_PYTHON", "")
    if not name:
        found = re.search(r"\b(python3\.\d+)-minimal\b", apt.depends("python3-minimal"))
        name = found[1] if found else ""
    if not name:
        raise LabUnavailable(
            "apt knows no python3-minimal, which the lab's kernels run: fetch its lists with "
            "`apt-get update`"
        )
    return name


def _known(names: Sequence[str]) -> tuple[apt.Package, ...]:
    found = apt.candidates(names)
    missing = [name for name in names if name not in found]
    if missing:
        raise LabUnavailable(
            f"apt knows no package {' '.join(missing)}, which the lab's Python needs: fetch its "
            "lists with `apt-get update`"
        )
    return tuple(found[name] for name in names)
