"""The back ends that the lab can give a kernel: which emulator plays which CPU, and with what.

Figures in comments are measured on a 2-core machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from kvmabi.errors import UsageError


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run a kernel's own KVM without KVM hardware."""

    name: str
    about: str
    module: str
    """The KVM module that must load."""
    parameters: str = ""
    """The module's parameters."""
    program: str = "qemu-system-x86_64"
    package: str = "qemu-system-x86"
    """The Debian package that has the program."""
    accelerator: str = "tcg"
    cpu: str = "max,+svm"


BACKENDS: Final = MappingProxyType(
    {
        one.name: one
        for one in (
            Backend("svm", "AMD SVM with nested paging, by QEMU's TCG", "kvm_amd"),
            Backend("svm-shadow", "AMD SVM with shadow paging, by QEMU's TCG", "kvm_amd", "npt=0"),
        )
    }
)


def backend(name: str) -> Backend:
    """Return the back end of this name; UsageError for an unknown one."""
    try:
        return BACKENDS[name]
    except KeyError:
        raise UsageError(
            f"there is no back end {name!r}; the lab has {', '.join(BACKENDS)}"
        ) from None
