"""Where headers to read come from: the ziglang package, or a folder that the user names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from kvmabi.abi.build import read_abi
from kvmabi.arch import Architecture
from kvmabi.errors import ToolMissing, UsageError
from kvmabi.header import HeaderTree

ZIGLANG = "ziglang >=0.17,<0.18"


def ziglang_folder() -> Path:
    """The include folder of the installed ziglang package; ToolMissing if it is not installed."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise ToolMissing(
            "this needs the ziglang package (a C compiler and the kernel's headers), which is not"
            f" installed; this gives it:  python -m pip install '{ZIGLANG}'"
        )
    return Path(spec.origin).parent / "lib" / "libc" / "include"


def ziglang_tree(architecture: Architecture) -> HeaderTree:
    """The headers of one architecture in the ziglang package."""
    folder = ziglang_folder()
    return HeaderTree.of(folder / architecture.header_dir, folder / "any-linux-any")


def user_tree(folder: str, architecture: Architecture) -> HeaderTree:
    """The headers under `folder`, which holds linux/kvm.h itself or in its `include`.

    Installed trees may have asm/ beside linux/, or below a folder of the compiler's name for the
    architecture (/usr/include/x86_64-linux-gnu), or of the package's that the shipped ABI is from.
    UsageError where there is no linux/kvm.h.
    """
    for top in (Path(folder), Path(folder, "include"), Path(folder, "usr", "include")):
        if (top / "linux" / "kvm.h").is_file():
            beside = [top / f"{name}-linux-gnu" for name in architecture.machines]
            beside += [top.parent / architecture.header_dir, top / architecture.zig_target]
            own = [path for path in beside if (path / "asm" / "kvm.h").is_file()]
            return HeaderTree.of(*own[:1], top)
    raise UsageError(
        f"{folder} has no linux/kvm.h; name an include folder as `make headers_install` writes it"
    )


def header_version(tree: HeaderTree, architecture: Architecture) -> str:
    """The kernel version that a tree says it is ("7.2"), "" where it says none."""
    if tree.find("linux/version.h") is None:
        return ""
    macros = read_abi(tree, architecture, includes=("linux/version.h",)).macros
    code = macros.get("LINUX_VERSION_CODE")
    if code is None or not isinstance(code.value, int):
        return ""
    return f"{code.value >> 16}.{code.value >> 8 & 0xFF}"
