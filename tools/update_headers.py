#!/usr/bin/env python3
"""Regenerate what the repository keeps of kernel headers; a front of `kvmabi headers`.

    tools/update_headers.py --emit             write what would change
    tools/update_headers.py --check            write nothing; exit 1 if anything would change
    tools/update_headers.py import SOURCE ...  as `kvmabi headers import`; update and list as well

--emit and --check take the headers of the ziglang package (`pip install ziglang`), which carries
the kernel's sanitised headers for every architecture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kvmabi import arch, cli  # noqa: E402
from kvmabi.abi import regenerate, trees  # noqa: E402
from kvmabi.errors import KvmAbiError  # noqa: E402
from kvmabi.header import HeaderTree, SourceFile  # noqa: E402
from kvmabi.headersets.sources import ziglang  # noqa: E402


def overlay_sources() -> list[SourceFile]:
    """The overlays of this repository."""
    return regenerate.overlay_sources(ROOT)


def header_tree(architecture: arch.Architecture) -> HeaderTree:
    """The headers of one architecture in the ziglang package."""
    return trees.ziglang_tree(architecture)


def generated() -> dict[str, str]:
    """Every generated file's text by its path in the repository."""
    return regenerate.generate(ziglang(), ROOT).files


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and not words[0].startswith("-"):
        return cli.main(["headers", *words])
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--emit", action="store_true", help="write what would change")
    choice.add_argument("--check", action="store_true", help="fail if anything would change")
    options = parser.parse_args(words)
    try:
        files = generated()
    except KvmAbiError as error:
        print(f"update_headers: {error}", file=sys.stderr)
        return int(error.exit_code)
    stale = regenerate.stale(files, ROOT)
    for name in stale:
        print(f"{name}: {'written' if options.emit else 'is not what the headers give'}")
    if options.emit:
        regenerate.write({name: files[name] for name in stale}, ROOT)
    if not stale:
        print(f"{len(files)} files are up to date")
    return int(bool(stale) and options.check)


if __name__ == "__main__":
    sys.exit(main())
