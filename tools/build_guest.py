"""Build the exerciser guest from its source: the same bytes from any checkout.

    python tools/build_guest.py            # build, and replace kvmabi/guest/exerciser.elf
    python tools/build_guest.py --check    # build, and exit 1 if that would change it

Needs the pinned ``ziglang`` package, whose compiler it runs (its version is part of the result).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

GUEST = Path(__file__).resolve().parent.parent / "kvmabi" / "guest"
IMAGE = GUEST / "exerciser.elf"
SOURCES = ("access.S", "exerciser.c", "pci.c")
LINKER_SCRIPT = "exerciser.ld"

FLAGS = (
    *("-target", "x86_64-freestanding-none", "-std=c11", "-O2", "-g0"),
    *("-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-fno-pie"),
    # Nothing calls back into a library, and interrupts find no stack of their own.
    *("-fno-stack-protector", "-fno-sanitize=all", "-fno-builtin", "-mno-red-zone"),
    # Some KVM back ends emulate every instruction, and know little of SSE.
    *("-mno-sse", "-mno-mmx", "-fno-asynchronous-unwind-tables"),
    # No trace of when and where it was built.
    *("-Wl,--build-id=none", "-s"),
)


def build_guest(source: Path = GUEST) -> bytes:
    """The guest as an ELF file, built from the sources in this directory.

    The compiler works in that directory with relative names only, and with caches of its own that
    do not last, so that neither the place nor an earlier build can show in the result.
    """
    with tempfile.TemporaryDirectory(prefix="kvmabi-guest-") as scratch:
        image = Path(scratch) / "image.elf"
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS]
        command += [f"-Wl,-T,{LINKER_SCRIPT}", *SOURCES, "-o", str(image)]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("ZIG_")}
        caches = dict.fromkeys(("ZIG_LOCAL_CACHE_DIR", "ZIG_GLOBAL_CACHE_DIR"), scratch)
        subprocess.run(command, cwd=source, env=plain | caches, check=True)
        return image.read_bytes()


def main() -> int:
    """0 where the image is up to date or now written; 1 where `--check` finds it stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="change nothing, tell if stale")
    options = parser.parse_args()
    built = build_guest()
    if IMAGE.exists() and IMAGE.read_bytes() == built:
        print(f"{IMAGE.name} is what its source builds to ({len(built)} bytes)", file=sys.stderr)
        return 0
    if options.check:
        print(f"{IMAGE.name} is stale: run tools/build_guest.py", file=sys.stderr)
        return 1
    IMAGE.write_bytes(built)
    print(f"wrote {IMAGE.name} ({len(built)} bytes)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
