"""The architectures that KVM runs on, as frozen records.

Each is taken in its 64-bit Linux form (LP64), and nothing here asks the host. `ARCHITECTURES` holds
all seven by the name that the kernel's `arch/` folder has; `find` takes any of their other names
too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal

from kvmabi.errors import UsageError


@dataclass(frozen=True, slots=True)
class IoctlEncoding:
    """How an ioctl number is put together; from the low bits up: nr (8), type (8), size, direction.

    Source: the kernel's include/uapi/asm-generic/ioctl.h, and asm/ioctl.h of mips and powerpc.
    """

    size_bits: int
    none: int
    write: int
    read: int

    def number(self, direction: int, type_: int, nr: int, size_bytes: int) -> int:
        """The ioctl number of its parts; ValueError if one does not fit its bits."""
        limits = (self.none | self.read | self.write, 0xFF, 0xFF, (1 << self.size_bits) - 1)
        parts = (direction, type_, nr, size_bytes)
        for name, part, limit in zip(
            ("direction", "type", "nr", "size"), parts, limits, strict=True
        ):
            if not 0 <= part <= limit:
                raise ValueError(f"ioctl {name} {part:#x} is not in 0..{limit:#x}")
        return direction << (16 + self.size_bits) | size_bytes << 16 | type_ << 8 | nr

    def parts(self, number: int) -> tuple[int, int, int, int]:
        """(direction, type, nr, size in bytes) of an ioctl number of 32 bits."""
        size = number >> 16 & ((1 << self.size_bits) - 1)
        return number >> (16 + self.size_bits), number >> 8 & 0xFF, number & 0xFF, size


GENERIC_IOCTL: Final = IoctlEncoding(size_bits=14, none=0, write=1, read=2)
NARROW_IOCTL: Final = IoctlEncoding(size_bits=13, none=1, write=4, read=2)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture under the names that the tools around KVM have for it.

    `name` is the kernel's (`arch/NAME`, without the history of x86_64 and arm64), `machines` are
    what uname says, `qemu` is the suffix of `qemu-system-`, `zig_target` the compiler's target,
    `header_dir` its folder among the compiler's sanitised headers. `char_signed` is the signedness
    of plain `char`; `unnamed_bits_align` is whether bit-fields without a name align what they are
    in. `predefined` are the macros that a compiler for it defines and that headers ask about.
    """

    name: str
    machines: tuple[str, ...]
    qemu: str
    zig_target: str
    header_dir: str
    endianness: Literal["little", "big"]
    char_signed: bool
    unnamed_bits_align: bool
    ioctl: IoctlEncoding
    predefined: tuple[tuple[str, str], ...]


_LP64: Final = (
    ("__linux__", "1"),
    ("__unix__", "1"),
    ("__GNUC__", "12"),
    ("__GNUC_MINOR__", "2"),
    ("__STDC__", "1"),
    ("__STDC_VERSION__", "201710L"),
    ("__STDC_HOSTED__", "1"),
    ("_LP64", "1"),
    ("__LP64__", "1"),
    ("__CHAR_BIT__", "8"),
    ("__SIZEOF_SHORT__", "2"),
    ("__SIZEOF_INT__", "4"),
    ("__SIZEOF_LONG__", "8"),
    ("__SIZEOF_LONG_LONG__", "8"),
    ("__SIZEOF_POINTER__", "8"),
    ("__SIZEOF_SIZE_T__", "8"),
    ("__SIZEOF_INT128__", "16"),
    ("__INT_MAX__", "0x7fffffff"),
    ("__LONG_MAX__", "0x7fffffffffffffffL"),
    ("__ORDER_LITTLE_ENDIAN__", "1234"),
    ("__ORDER_BIG_ENDIAN__", "4321"),
)


def _predefined(
    endianness: Literal["little", "big"], *own: str | tuple[str, str]
) -> tuple[tuple[str, str], ...]:
    order = "__ORDER_LITTLE_ENDIAN__" if endianness == "little" else "__ORDER_BIG_ENDIAN__"
    pairs = tuple((item, "1") if isinstance(item, str) else item for item in own)
    return (*_LP64, ("__BYTE_ORDER__", order), *pairs)


X86: Final = Architecture(
    name="x86",
    machines=("x86_64", "amd64"),
    qemu="x86_64",
    zig_target="x86_64-linux-gnu",
    header_dir="x86-linux-any",
    endianness="little",
    char_signed=True,
    unnamed_bits_align=False,
    ioctl=GENERIC_IOCTL,
    predefined=_predefined("little", "__x86_64__", "__x86_64", "__amd64__"),
)
ARM64: Final = Architecture(
    name="arm64",
    machines=("aarch64", "arm64"),
    qemu="aarch64",
    zig_target="aarch64-linux-gnu",
    header_dir="aarch64-linux-any",
    endianness="little",
    char_signed=False,
    unnamed_bits_align=True,
    ioctl=GENERIC_IOCTL,
    predefined=_predefined("little", "__aarch64__", "__AARCH64EL__", "__CHAR_UNSIGNED__"),
)
RISCV: Final = Architecture(
    name="riscv",
    machines=("riscv64",),
    qemu="riscv64",
    zig_target="riscv64-linux-gnu",
    header_dir="riscv-linux-any",
    endianness="little",
    char_signed=False,
    unnamed_bits_align=False,
    ioctl=GENERIC_IOCTL,
    predefined=_predefined("little", "__riscv", ("__riscv_xlen", "64"), "__CHAR_UNSIGNED__"),
)
S390: Final = Architecture(
    name="s390",
    machines=("s390x",),
    qemu="s390x",
    zig_target="s390x-linux-gnu",
    header_dir="s390x-linux-any",
    endianness="big",
    char_signed=False,
    unnamed_bits_align=False,
    ioctl=GENERIC_IOCTL,
    predefined=_predefined("big", "__s390__", "__s390x__", "__zarch__", "__CHAR_UNSIGNED__"),
)
POWERPC: Final = Architecture(
    name="powerpc",
    machines=("ppc64le", "ppc64"),
    qemu="ppc64",
    zig_target="powerpc64le-linux-gnu",
    header_dir="powerpc-linux-any",
    endianness="little",
    char_signed=False,
    unnamed_bits_align=False,
    ioctl=NARROW_IOCTL,
    predefined=_predefined(
        "little",
        "__powerpc__",
        "__powerpc64__",
        "__PPC__",
        "__PPC64__",
        "__LITTLE_ENDIAN__",
        "_LITTLE_ENDIAN",
        ("_CALL_ELF", "2"),
        "__CHAR_UNSIGNED__",
    ),
)
LOONGARCH: Final = Architecture(
    name="loongarch",
    machines=("loongarch64",),
    qemu="loongarch64",
    zig_target="loongarch64-linux-gnu",
    header_dir="loongarch-linux-any",
    endianness="little",
    char_signed=True,
    unnamed_bits_align=False,
    ioctl=GENERIC_IOCTL,
    predefined=_predefined("little", "__loongarch__", "__loongarch64", ("__loongarch_grlen", "64")),
)
MIPS: Final = Architecture(
    name="mips",
    machines=("mips64", "mips64el", "mips"),
    qemu="mips64el",
    zig_target="mips64el-linux-gnuabi64",
    header_dir="mips-linux-any",
    endianness="little",
    char_signed=True,
    unnamed_bits_align=False,
    ioctl=NARROW_IOCTL,
    predefined=_predefined(
        "little",
        ("__mips", "64"),
        ("__mips_isa_rev", "2"),
        "__mips__",
        "__mips64",
        "__MIPSEL__",
        "_MIPSEL",
        ("_MIPS_SZLONG", "64"),
        ("_MIPS_SZPTR", "64"),
        ("_MIPS_SZINT", "32"),
        ("_ABIO32", "1"),
        ("_ABIN32", "2"),
        ("_ABI64", "3"),
        ("_MIPS_SIM", "_ABI64"),
    ),
)

ARCHITECTURES: Final = {
    arch.name: arch for arch in (X86, ARM64, RISCV, S390, POWERPC, LOONGARCH, MIPS)
}


def find(name: str) -> Architecture:
    """The architecture of a kernel's, uname's, QEMU's or folder's name; UsageError if none."""
    for arch in ARCHITECTURES.values():
        if name in (arch.name, arch.qemu, arch.header_dir, *arch.machines):
            return arch
    known = ", ".join(ARCHITECTURES)
    raise UsageError(f"KVM has no architecture {name!r} here; known: {known}")


def host() -> Architecture:
    """The architecture of the running kernel; UsageError if KVM has none of that name."""
    return find(os.uname().machine)
