"""Build our guests from their source: the same bytes from any checkout.

    python tools/build_guest.py            # build, and replace kvmabi/guest/*.elf
    python tools/build_guest.py --check    # build, and exit 1 if that would change one

Needs the pinned ``ziglang`` package, whose compiler it runs (its version is part of the result).
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from struct import pack
from typing import NamedTuple

from elftools.elf.elffile import ELFFile

GUEST = Path(__file__).resolve().parent.parent / "kvmabi" / "guest"


class Guest(NamedTuple):
    """A guest: its name, what it is built from and how."""

    name: str
    sources: tuple[str, ...]
    flags: tuple[str, ...] = ()
    elf32: bool = False
    """Whether its ELF file is to be one of 32 bits."""


EXERCISER = Guest("exerciser", ("access.S", "exerciser.c", "pci.c"))
BENCH = Guest(
    "bench",
    ("bench_start.S", "bench.c", "bench_measure.c", "pci.c"),
    ("-mcpu=x86_64-sse-sse2-mmx+soft_float",),  # copies use SSE in spite of the above
    elf32=True,
)
"""64-bit code in an ELF32 file, which is what multiboot loaders take."""
GUESTS = (EXERCISER, BENCH)

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


def build_guest(source: Path = GUEST, guest: Guest = EXERCISER) -> bytes:
    """The guest as an ELF file, built from the sources in this directory.

    The compiler works in that directory with relative names only, and with caches of its own that
    do not last, so that neither the place nor an earlier build can show in the result.
    """
    with tempfile.TemporaryDirectory(prefix="kvmabi-guest-") as scratch:
        image = Path(scratch) / "image.elf"
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *guest.flags]
        command += [f"-Wl,-T,{guest.name}.ld", *guest.sources, "-o", str(image)]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("ZIG_")}
        caches = dict.fromkeys(("ZIG_LOCAL_CACHE_DIR", "ZIG_GLOBAL_CACHE_DIR"), scratch)
        subprocess.run(command, cwd=source, env=plain | caches, check=True)
        built = image.read_bytes()
    return as_elf32(built) if guest.elf32 else built


def as_elf32(data: bytes) -> bytes:
    """The segments and the entry point of an ELF64 file, below 4 GiB, as an ELF32 file for i386."""
    elf = ELFFile(io.BytesIO(data))
    segments = list(elf.iter_segments("PT_LOAD"))
    table, body = b"", b""
    body_at = 52 + 32 * len(segments)
    for segment in segments:
        head, content = segment.header, segment.data()
        at = body_at + len(body)
        sizes = (len(content), head.p_memsz, head.p_flags)
        table += pack("<8I", 1, at, head.p_paddr, head.p_paddr, *sizes, 1)
        body += content + bytes(-len(content) % 4)  # multiboot headers stand at multiples of 4
    entry = elf.header.e_entry
    ident = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    numbers = (2, 3, 1, entry, 52, 0, 0, 52, 32, len(segments), 0, 0, 0)
    return ident + pack("<HHIIIIIHHHHHH", *numbers) + table + body


def main() -> int:
    """0 where the images are up to date or now written; 1 where `--check` finds one stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="change nothing, tell if stale")
    options = parser.parse_args()
    return max([_update(guest, check=options.check) for guest in GUESTS])


def _update(guest: Guest, *, check: bool) -> int:
    built = build_guest(guest=guest)
    image = GUEST / f"{guest.name}.elf"
    if image.exists() and image.read_bytes() == built:
        print(f"{image.name} is what its source builds to ({len(built)} bytes)", file=sys.stderr)
        return 0
    if check:
        print(f"{image.name} is stale: run tools/build_guest.py", file=sys.stderr)
        return 1
    image.write_bytes(built)
    print(f"wrote {image.name} ({len(built)} bytes)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
