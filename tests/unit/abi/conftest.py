"""ABIs from text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvmabi import arch
from kvmabi.abi.build import read_abi
from kvmabi.abi.model import Abi
from kvmabi.header import HeaderTree

IOCTL_H = """
#define _IO(type, nr) _IOC(_IOC_NONE, (type), (nr), 0)
#define _IOR(type, nr, t) _IOC(_IOC_READ, (type), (nr), sizeof(t))
#define _IOW(type, nr, t) _IOC(_IOC_WRITE, (type), (nr), sizeof(t))
#define _IOWR(type, nr, t) _IOC(_IOC_READ|_IOC_WRITE, (type), (nr), sizeof(t))
"""


@pytest.fixture
def abi_of(tmp_path: Path) -> Callable[..., Abi]:
    def read(text: str, architecture: arch.Architecture = arch.X86) -> Abi:
        folder = tmp_path / "linux"
        folder.mkdir(exist_ok=True)
        (folder / "ioctl.h").write_text(IOCTL_H)
        (folder / "kvm.h").write_text(text)
        return read_abi(HeaderTree.of(tmp_path), architecture)

    return read
