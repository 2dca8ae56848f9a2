"""The initramfs of one boot: Python, kvmabi, and this kernel's modules in the order of loading."""

from __future__ import annotations

import json
from typing import Final

from kvmabi.errors import LabUnavailable
from kvmabi.lab import cpio
from kvmabi.lab.archive import Entry
from kvmabi.lab.backends import Backend
from kvmabi.lab.kernels import Kernel
from kvmabi.lab.modules import in_order
from kvmabi.lab.userland import Userland

CARRIERS: Final = ("virtio_pci", "virtio_console")
"""What carries the results out."""


def build(kernel: Kernel, backend: Backend) -> bytes:
    """Return the initramfs; the same kernel, packages and kvmabi give the same bytes."""
    userland = Userland()
    parts = (userland.python_archive(), userland.code_archive())
    return b"".join(part.read_bytes() for part in parts) + module_archive(kernel, backend)


def module_archive(kernel: Kernel, backend: Backend) -> bytes:
    """Return the archive with the modules; LabUnavailable where the back end's is missing."""
    check(kernel, backend)
    order, files = [], []
    for name, image in in_order([*CARRIERS, backend.module], kernel.modules):
        order.append([name, backend.parameters if name == backend.module else ""])
        files.append(Entry(f"modules/{name}.ko", 0o644, image))
    files.append(Entry("modules/order.json", 0o644, json.dumps(order).encode()))
    return cpio.archive(files)


def check(kernel: Kernel, backend: Backend) -> None:
    """Raise LabUnavailable, with the reason, for a kernel that cannot do it for a known reason."""
    config = kernel.config
    if config is None:
        return
    option = f"CONFIG_{backend.module.upper()}"
    for needed, what in (
        ("CONFIG_KVM", "it has no KVM"),
        (option, f"its KVM has no {backend.module}, which the back end {backend.name} needs"),
        ("CONFIG_BLK_DEV_INITRD", "it cannot take an initramfs"),
        ("CONFIG_VIRTIO_PCI", "it has no virtio over PCI, which carries the results"),
        ("CONFIG_VIRTIO_CONSOLE", "it has no virtio console, which carries the results"),
        ("CONFIG_DEVTMPFS", "it has no devtmpfs"),
        ("CONFIG_EVENTFD", "it has no eventfd"),
    ):
        if needed not in config:
            raise LabUnavailable(f"{kernel.source} cannot be tested: {what} ({needed} is not set)")
