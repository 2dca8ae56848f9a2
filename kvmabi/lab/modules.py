"""A kernel's modules: where they are, what they need, and the order in which to load them.

depmod's files are not used, since a built tree has none: what a module needs stands in the module.
Source: include/linux/module.h (MODULE_INFO), the section ``.modinfo``.
"""

from __future__ import annotations

import gzip
import io
import lzma
import shutil
import subprocess
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from kvmabi.errors import LabUnavailable, UsageError

SUFFIXES: Final = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


def module_name(path: str) -> str:
    """Return a module's name as the kernel shows it ("kvm_amd"), or "" for any other file."""
    name = PurePosixPath(path).name
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("-", "_")
    return ""


def find_modules(folder: Path) -> dict[str, Path]:
    """Return the modules in a folder and below, name to path."""
    found = ((module_name(path.name), path) for path in sorted(folder.rglob("*.ko*")))
    return {name: path for name, path in found if name}


def read_module(path: Path) -> bytes:
    """Return a module's ELF image, decompressed."""
    try:
        data = path.read_bytes()
        match path.suffix:
            case ".xz":
                return lzma.decompress(data)
            case ".gz":
                return gzip.decompress(data)
            case ".zst":
                return _unzstd(path)
    except (lzma.LZMAError, zlib.error, OSError, EOFError) as error:
        raise UsageError(f"the module {path} cannot be read: {error}") from error
    return data


def _unzstd(path: Path) -> bytes:
    if shutil.which("zstd") is None:
        raise LabUnavailable(f"{path} needs zstd to be unpacked: apt-get install -y zstd")
    done = subprocess.run(["zstd", "-dcq", path], capture_output=True, check=False)
    if done.returncode:
        raise UsageError(f"the module {path} cannot be read: {done.stderr.decode().strip()}")
    return done.stdout


def modinfo(image: bytes, name: str = "module") -> dict[str, str]:
    """Return what a module says of itself: "depends", "vermagic", …; the first of each name."""
    try:
        section = ELFFile(io.BytesIO(image)).get_section_by_name(".modinfo")
        data = section.data() if section is not None else b""
    except (ELFError, ValueError, KeyError) as error:
        raise UsageError(f"{name} is no readable module: {error}") from error
    found: dict[str, str] = {}
    for line in data.split(b"\0"):
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if equals:
            found.setdefault(key, value)
    return found


def in_order(
    wanted: Sequence[str], modules: Mapping[str, Path], optional: Sequence[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """Yield name and image of the wanted modules, each behind what it needs.

    A module that is not there is taken to be built in, unless another's list of needs names it:
    then UsageError. Of the `optional` ones, those are loaded that are there.
    """
    done: set[str] = set()

    def visit(name: str, needed_by: str) -> Iterator[tuple[str, bytes]]:
        if name in done:
            return
        done.add(name)
        path = modules.get(name)
        if path is None:
            if needed_by:
                raise UsageError(f"the module {needed_by} needs {name}, which is not there")
            return
        image = read_module(path)
        for needed in filter(None, modinfo(image, str(path)).get("depends", "").split(",")):
            yield from visit(needed.replace("-", "_"), name)
        yield name, image

    for name in [*optional, *wanted]:
        yield from visit(name, "")
