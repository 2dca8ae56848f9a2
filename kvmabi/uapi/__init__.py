"""KVM's ABI as the host's architecture has it: structs, constants and ioctl numbers for ctypes.

The modules of this package are generated from the kernel's headers; see tools/update_headers.py.
There is one for each architecture of KVM, and each can be imported on every host; its docstring
says for which programs it is. On a host that none of them is for, the package's own names raise
KvmUnavailable.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from kvmabi.errors import KvmUnavailable

MODULES: Final = {
    "x86_64": "x86",
    "amd64": "x86",
    "aarch64": "arm64",
    "riscv64": "riscv",
    "s390x": "s390",
    "ppc64le": "powerpc",
    "loongarch64": "loongarch",
    "mips64": "mips",
}
"""The module of a machine as uname calls it; of mips64 there is the little-endian one alone."""


def host_module(machine: str, byte_order: str) -> str:
    """The name of the module for a host, "" where there is none."""
    name = MODULES.get(machine, "")
    return name if byte_order == ("big" if name == "s390" else "little") else ""


if TYPE_CHECKING:
    from kvmabi.uapi.x86 import *  # noqa: F403
else:
    _host = host_module(os.uname().machine, sys.byteorder)
    if _host:
        _module = importlib.import_module(f"kvmabi.uapi.{_host}")
        globals().update({_name: getattr(_module, _name) for _name in _module.__all__})
    else:

        def __getattr__(name: str) -> Any:
            if name.startswith("_") or name in MODULES.values():
                raise AttributeError(name)
            raise KvmUnavailable(
                f"kvmabi has no KVM definitions for {os.uname().machine}, {sys.byteorder}-endian;"
                f" it has those of {', '.join(MODULES)}"
            )
