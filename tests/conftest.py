"""What all tests share: those that need KVM, a lab or a build are skipped by name, or fail."""

from __future__ import annotations

import fcntl
import functools
import os
import signal

import pytest

KVM_GET_API_VERSION = 0xAE00


def pytest_configure() -> None:
    """Have Ctrl-C heeded by what tests start, though a shell's background job may ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@functools.cache
def why_no_kvm(path: str = "/dev/kvm") -> str:
    """The reason why KVM cannot be used here; empty if it can."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{path} cannot be opened read-write: {error.strerror}"
    try:
        version = fcntl.ioctl(fd, KVM_GET_API_VERSION)
    except OSError as error:
        return f"{path} is no KVM: {error.strerror}"
    finally:
        os.close(fd)
    return "" if version == 12 else f"KVM API version {version}, not 12"


@functools.cache
def why_no_lab() -> str:
    """The reason why no kernel can be booted here; empty if one can. Fills the lab's cache."""
    from kvmabi.errors import KvmAbiError
    from kvmabi.lab import kernels
    from kvmabi.lab.backends import backend
    from kvmabi.lab.machine.emulator import check_tools
    from kvmabi.lab.rootfs import initramfs

    try:
        check_tools(backend("svm"))
        initramfs.build(kernels.find_kernel("debian:6.1"), backend("svm"))
    except KvmAbiError as error:
        return str(error)
    return ""


@functools.cache
def why_no_build() -> str:
    """The reason why no kernel can be built here; empty if one can."""
    from kvmabi.errors import KvmAbiError
    from kvmabi.lab.build import config, tools

    try:
        tools.check(config.flavour("debug"))
    except KvmAbiError as error:
        return str(error)
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    needs = (
        ("kvm", "KVM", why_no_kvm),
        ("lab", "LAB", why_no_lab),
        ("builds", "LAB", why_no_build),
    )
    for marker, what, why_not in needs:
        if item.get_closest_marker(marker) is None:
            continue
        reason = why_not()
        required = f"KVMABI_REQUIRE_{what}"
        if reason and os.environ.get(required) == "1":
            pytest.fail(f"{required}=1, but {reason}", pytrace=False)
        if reason:
            pytest.skip(reason)
