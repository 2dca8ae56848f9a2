"""The exerciser: a tiny 64-bit guest that makes the accesses which its host asks for.

`exerciser.elf` is built from the C and assembly beside it by ``tools/build_guest.py`` (a test
proves that the source still gives these bytes), so that neither installing nor running kvmabi
needs a compiler. `kvmabi.guest.mailbox` is the layout of the memory that guest and host share.
"""

from importlib.resources import files

IMAGE_NAME = "exerciser.elf"
BENCH_NAME = "bench.elf"


def exerciser_image() -> bytes:
    """The built guest, an ELF file."""
    return files(__name__).joinpath(IMAGE_NAME).read_bytes()


def bench_image() -> bytes:
    """The built bench guest: a multiboot image, an ELF32 file."""
    return files(__name__).joinpath(BENCH_NAME).read_bytes()
