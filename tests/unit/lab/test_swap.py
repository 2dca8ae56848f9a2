"""Modules that take the place of others: in which order they go and come, and what goes wrong."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab.inside import swap
from kvmabi.lab.inside.files import pack
from kvmabi.lab.inside.swap import SYS_DELETE_MODULE, SYS_INIT_MODULE
from kvmabi.lab.kernels import Kernel
from kvmabi.lab.rootfs import initramfs

ORDER = [("virtio", ""), ("irqbypass", ""), ("kvm", ""), ("kvm_amd", "npt=0")]
FILES = {name: name.encode() for name, _ in ORDER}


class FakeLibc:
    """Takes the two system calls, and refuses the one for the module that it is told."""

    def __init__(self, refused: str = "") -> None:
        self.calls: list[tuple[object, ...]] = []
        self.refused = refused.encode()

    def syscall(self, number: int, first: bytes, *others: object) -> int:
        self.calls.append((number, first, *others))
        ctypes.set_errno(errno.EBUSY)
        return -1 if first == self.refused else 0


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch):
    def play(images: dict[str, bytes], refused: str = "") -> tuple[str, list[tuple[object, ...]]]:
        libc = FakeLibc(refused)
        monkeypatch.setattr(swap, "_libc", libc)
        return swap.swap(ORDER, pack(images), FILES), libc.calls

    return play


def test_what_was_loaded_behind_a_module_goes_and_comes_with_it(play) -> None:
    trouble, calls = play({"kvm": b"another"})
    assert trouble == ""
    assert [call[:2] for call in calls] == [
        (SYS_DELETE_MODULE, b"kvm_amd"),
        (SYS_DELETE_MODULE, b"kvm"),
        (SYS_INIT_MODULE, b"another"),
        (SYS_INIT_MODULE, b"kvm_amd"),
    ]
    assert calls[-1][2:] == (len(b"kvm_amd"), b"npt=0")


def test_the_last_module_goes_alone(play) -> None:
    _, calls = play({"kvm_amd": b"another"})
    assert [call[1] for call in calls] == [b"kvm_amd", b"another"]


@pytest.mark.parametrize(
    ("images", "refused", "text"),
    [
        ({"kvm_intel": b"x"}, "", "kvm_intel was not loaded"),
        ({"kvm": b"x"}, "kvm_amd", "kvm_amd does not go: Device or resource busy"),
        ({"kvm": b"x"}, "x", "kvm does not load: Device or resource busy"),
    ],
)
def test_what_goes_wrong_is_told(play, images: dict[str, bytes], refused: str, text: str) -> None:
    assert text in play(images, refused)[0]


def kernel(release: str) -> Kernel:
    return Kernel("k", "the tree k", release, Path("k"), {})


def test_a_module_is_named_like_its_file_and_must_be_the_kernels(
    tmp_path: Path, make_module
) -> None:
    path = tmp_path / "kvm-amd.ko"
    path.write_bytes(make_module("vermagic=6.1.0 SMP"))
    assert list(initramfs.swapped(kernel("6.1.0"), [path])) == ["kvm_amd"]
    with pytest.raises(LabUnavailable, match=r"kvm_amd is of Linux 6\.1\.0"):
        initramfs.swapped(kernel("6.12.0"), [path])


@pytest.mark.parametrize("name", ["kvm.ko", "bzImage"])
def test_a_file_that_is_no_module_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "bzImage").write_bytes(b"")
    with pytest.raises(UsageError, match="there is no such module"):
        initramfs.swapped(kernel(""), [tmp_path / name])
