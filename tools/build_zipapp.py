"""Builds kvmabi.pyz: kvmabi and what it needs at run time, in one file for a bare Python 3.11+.

    tools/build_zipapp.py [-o FILE]

Run it by the project's own environment (`make zipapp`): what is installed there is bundled, with
its licenses. Sources are in it, for any Python; beside them byte code for the Python that builds,
which starts in a third of the time. The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import py_compile
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TOP: Final = Path(__file__).parents[1]
SHEBANG: Final = b"#!/usr/bin/env python3\n"
DISTRIBUTIONS: Final = ("ioctl-opt", "pyelftools", "rich")
"""Runtime dependencies. What rich needs for Markdown and for source text is left out: kvmabi draws
neither, and rich imports it only then."""
DATA: Final = (".elf", ".h", ".json", ".txt", ".typed")
MAIN: Final = """\
import sys

if sys.version_info < (3, 11):
    sys.exit("kvmabi needs Python 3.11 or newer, and this is " + sys.version.split()[0])

from kvmabi.cli import main

sys.exit(main())
"""
EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def members() -> Iterator[tuple[str, bytes]]:
    """(name in the archive, content) of every file, in the order of their names."""
    found = {"__main__.py": MAIN.encode(), "kvmabi-LICENSE": (TOP / "LICENSE").read_bytes()}
    for path in (TOP / "kvmabi").rglob("*"):
        if path.suffix in (".py", *DATA) and path.is_file():
            found[path.relative_to(TOP).as_posix()] = path.read_bytes()
    for name in DISTRIBUTIONS:
        found |= distribution(name)
    yield from sorted(found.items())


def distribution(name: str) -> dict[str, bytes]:
    """The modules and licenses of an installed distribution, by their names in the archive."""
    found = {}
    for file in importlib.metadata.files(name) or ():
        parts = file.parts
        licence = "LICENSE" in file.name.upper() or "COPYING" in file.name.upper()
        metadata = parts[0].endswith(".dist-info")
        if parts[0] == ".." or (metadata and not licence and file.name != "METADATA"):
            continue
        if file.suffix == ".py" or metadata:
            found[file.as_posix()] = Path(str(file.locate())).read_bytes()
    if not found:
        raise SystemExit(f"{name} is not installed here: run `make zipapp`")
    return found


def byte_code(name: str, source: bytes, scratch: Path) -> bytes:
    """The byte code of a module, which says nothing of where or when it was compiled."""
    (scratch / "source.py").write_bytes(source)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    target = py_compile.compile(
        str(scratch / "source.py"),
        str(scratch / "target.pyc"),
        dfile=name,
        doraise=True,
        invalidation_mode=mode,
    )
    return Path(str(target)).read_bytes()


def build(target: Path) -> int:
    """Write the archive, and return how many files are in it."""
    count = 0
    with tempfile.TemporaryDirectory(prefix="kvmabi-zipapp-") as folder, target.open("wb") as out:
        out.write(SHEBANG)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, content in members():
                entries = [(name, content)]
                if name.endswith(".py"):
                    entries.append((f"{name}c", byte_code(name, content, Path(folder))))
                for entry, body in entries:
                    info = zipfile.ZipInfo(entry, EPOCH)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    info.external_attr = (stat.S_IFREG | 0o644) << 16
                    archive.writestr(info, body)
                    count += 1
    target.chmod(0o755)
    return count


def main() -> int:
    """Build, and say what was built."""
    parser = argparse.ArgumentParser(description="Build kvmabi as a single file.")
    parser.add_argument("-o", "--output", type=Path, default=TOP / "dist" / "kvmabi.pyz")
    target: Path = parser.parse_args().output
    if os.environ.get("PYTHONHASHSEED") != "0":  # it orders the sets in byte code
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 (no shell is meant)
    target.parent.mkdir(parents=True, exist_ok=True)
    count = build(target)
    size = target.stat().st_size
    sys.stdout.write(f"{target}: {count} files, {size:,} bytes; try: {target} probe\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
