"""The initramfs of one boot: Python, kvmabi, and this kernel's modules in the order of loading."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab import cache
from kvmabi.lab.archive import Entry
from kvmabi.lab.backends import Backend
from kvmabi.lab.kernels import Kernel
from kvmabi.lab.modules import in_order, modinfo, module_name, read_module
from kvmabi.lab.rootfs import cpio
from kvmabi.lab.rootfs.userland import Userland

KEPT: Final = 4
"""How many archives of a kind stay in the cache: those that were used last."""
NEEDED: Final = MappingProxyType(
    {
        "CONFIG_KVM": "it has no KVM",
        "CONFIG_BLK_DEV_INITRD": "it cannot take an initramfs",
        "CONFIG_DEVTMPFS": "it has no devtmpfs",
        "CONFIG_EVENTFD": "it has no eventfd",
    }
)
"""Kernel option, and what a kernel lacks without it; a back end's carrier needs more."""


def build(kernel: Kernel, backend: Backend) -> bytes:
    """Return the initramfs; the same kernel, packages and kvmabi give the same bytes."""
    userland = Userland()
    paths = (userland.python_archive(), userland.code_archive())
    parts = [*(path.read_bytes() for path in paths), module_archive(kernel, backend)]
    for pattern in ("python-*.cpio", "code-*.cpio"):
        for old in cache.unused(paths[0].parent, pattern, KEPT):
            old.unlink(missing_ok=True)
    return b"".join(parts)


def module_archive(kernel: Kernel, backend: Backend) -> bytes:
    """Return the archive with the modules; LabUnavailable where they are not this kernel's."""
    check(kernel, backend)
    order, files = [], []
    for name, image in in_order(
        [*backend.emulator.carrier.modules, backend.module], kernel.modules
    ):
        check_release(kernel, name, image)
        order.append([name, backend.parameters if name == backend.module else ""])
        files.append(Entry(f"modules/{name}.ko", 0o644, image))
    files.append(Entry("modules/order.json", 0o644, json.dumps(order).encode()))
    return cpio.archive(files)


def swapped(kernel: Kernel, paths: Sequence[Path]) -> dict[str, bytes]:
    """Return modules that are to take the place of the kernel's own, by name.

    A module is named like its file: kvm.ko is "kvm", kvm-amd.ko "kvm_amd". Raises UsageError and
    LabUnavailable where one is none, or not this kernel's.
    """
    found = {}
    for path in paths:
        name = module_name(path.name)
        if not name or not path.is_file():
            raise UsageError(f"{path}: there is no such module")
        found[name] = read_module(path)
        check_release(kernel, name, found[name])
    return found


def check_release(kernel: Kernel, name: str, image: bytes) -> None:
    """Raise LabUnavailable for a module of another kernel."""
    release = modinfo(image, name).get("vermagic", "").partition(" ")[0]
    if kernel.release and release and release != kernel.release:
        raise LabUnavailable(
            f"the module {name} is of Linux {release}, and {kernel.source} is Linux "
            f"{kernel.release}: name the modules that belong to it with --modules"
        )


def check(kernel: Kernel, backend: Backend) -> None:
    """Raise LabUnavailable, with the reason, for a kernel that cannot do it for a known reason."""
    module, carrier = backend.module, backend.emulator.carrier
    for options, what in {**NEEDED, **carrier.options}.items():
        if kernel.config is not None and not kernel.config.keys() & set(options.split(" or ")):
            raise _cannot(kernel, f"{what} ({options} is not set)")
    option = f"CONFIG_{module.upper()}"
    built_in = None if kernel.built_in is None else module in kernel.built_in
    if kernel.config is not None:
        if option not in kernel.config:
            what = f"its KVM has no {module}, which the back end {backend.name} needs"
            raise _cannot(kernel, f"{what} ({option} is not set)")
        built_in = kernel.config[option] == "y"
    if built_in is False and module not in kernel.modules:
        raise _cannot(kernel, f"the module {module} is not there; --modules can name its folder")
    for name in carrier.modules if kernel.built_in is not None else ():
        if name not in kernel.modules and name not in (kernel.built_in or ()):
            raise _cannot(kernel, f"the module {name}, which carries the results, is not there")


def _cannot(kernel: Kernel, why: str) -> LabUnavailable:
    return LabUnavailable(f"{kernel.source} cannot be tested: {why}")
