"""What all tests share: `kvm` tests are skipped by name, or fail where KVM is required."""

from __future__ import annotations

import fcntl
import functools
import os

import pytest

KVM_GET_API_VERSION = 0xAE00


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


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kvm") is None:
        return
    reason = why_no_kvm()
    if reason and os.environ.get("KVMABI_REQUIRE_KVM") == "1":
        pytest.fail(f"KVMABI_REQUIRE_KVM=1, but {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)
