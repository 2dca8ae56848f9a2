#!/usr/bin/env python3
"""Regenerate kvmabi/uapi and linux_headers/sources.json from a tree of kernel headers.

    tools/update_headers.py --emit     write what would change
    tools/update_headers.py --check    write nothing; exit 1 if anything would change

The headers are those of the ziglang package (`pip install ziglang`), which carries the kernel's
sanitised headers for every architecture.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kvmabi import arch  # noqa: E402
from kvmabi.abi.build import read_abi  # noqa: E402
from kvmabi.abi.emit import OVERLAY_PREFIX, ModuleSource, emit_module  # noqa: E402
from kvmabi.errors import KvmAbiError, UsageError  # noqa: E402
from kvmabi.header import HeaderTree, SourceFile, source_from_bytes  # noqa: E402

EMITTED = tuple(arch.ARCHITECTURES.values())
OVERLAYS = ("pv-mmio.h",)


def ziglang_folder() -> Path:
    """The include folder of the installed ziglang package; UsageError if it is not installed."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise UsageError("the ziglang package is not installed: pip install ziglang")
    return Path(spec.origin).parent / "lib" / "libc" / "include"


def overlay_sources() -> list[SourceFile]:
    """The overlays of this repository."""
    folder = ROOT / "linux_headers" / "overlays"
    return [
        source_from_bytes((folder / name).read_bytes(), OVERLAY_PREFIX + name) for name in OVERLAYS
    ]


def header_tree(architecture: arch.Architecture) -> HeaderTree:
    """The headers of one architecture in the ziglang package."""
    folder = ziglang_folder()
    return HeaderTree.of(folder / architecture.header_dir, folder / "any-linux-any")


def header_version(tree: HeaderTree, architecture: arch.Architecture) -> str:
    """The kernel version that a tree says it is ("7.2"), from linux/version.h."""
    macros = read_abi(tree, architecture, includes=("linux/version.h",)).macros
    parts = (macros["LINUX_VERSION_MAJOR"], macros["LINUX_VERSION_PATCHLEVEL"])
    return ".".join(str(part.value) for part in parts)


def generated() -> dict[str, str]:
    """Every generated file's text by its path in the repository."""
    files: dict[str, str] = {}
    package = f"ziglang {importlib.metadata.version('ziglang')}"
    checksums: dict[str, str] = {}
    version = ""
    for architecture in EMITTED:
        tree = header_tree(architecture)
        version = header_version(tree, architecture)
        base = read_abi(tree, architecture)
        abi = read_abi(tree, architecture, overlays=overlay_sources())
        source = f"Linux {version} headers ({package})"
        module = ModuleSource(abi, base, version, source)
        files[f"kvmabi/uapi/{architecture.name}.py"] = emit_module(module)
        for name in base.files:
            checksums.update(_checksum(tree, name))
    sources = {"version": version, "package": package, "sha256": dict(sorted(checksums.items()))}
    files["linux_headers/sources.json"] = json.dumps(sources, indent=1) + "\n"
    return files


def _checksum(tree: HeaderTree, name: str) -> dict[str, str]:
    found = tree.find(name)
    assert found is not None
    path, folder = found
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {f"{tree.folders[folder].name}/{name}": digest}


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--emit", action="store_true", help="write what would change")
    choice.add_argument("--check", action="store_true", help="fail if anything would change")
    options = parser.parse_args(arguments)
    try:
        files = generated()
    except KvmAbiError as error:
        print(f"update_headers: {error}", file=sys.stderr)
        return int(error.exit_code)
    stale = [name for name, text in files.items() if _current(name) != text]
    for name in stale:
        print(f"{name}: {'written' if options.emit else 'is not what the headers give'}")
        if options.emit:
            (ROOT / name).write_text(files[name], encoding="utf-8")
    if not stale:
        print(f"{len(files)} files are up to date")
    return int(bool(stale) and options.check)


def _current(name: str) -> str:
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
