from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab import kernels
from kvmabi.lab.backends import VIRTIO, backend
from kvmabi.lab.image import release_of
from kvmabi.lab.kernels import find_kernel, with_modules
from kvmabi.lab.rootfs import initramfs

SVM = backend("svm")
RELEASE = "6.9.0-mine"
CONFIG = "CONFIG_EVENTFD=y\nCONFIG_KVM=y\nCONFIG_KVM_AMD=m\n# CONFIG_KVM_INTEL is not set\n"
MODULES = ("kvm-amd", "virtio_pci", "virtio_console")


def bzimage(release: str = RELEASE, *, flags: int = 1) -> bytes:
    data = bytearray(1 << 16)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x3000)
    data[0x236] = flags
    text = f"{release} (somebody@somewhere) #1 SMP".encode()
    data[0x3200 : 0x3200 + len(text)] = text
    return bytes(data)


@pytest.fixture
def put(tmp_path: Path, make_module):
    """Puts a kernel's files somewhere: text, bytes, or the release that a module is of."""

    def put(files: dict[str, str | bytes], modules: dict[str, str] | None = None) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        for name, release in (modules or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make_module("depends=", f"vermagic={release} SMP"))
        return tmp_path

    return put


def test_a_bzimage_tells_its_release(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage())
    assert release_of(path) == RELEASE


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x7fELF" + bytes(1 << 16), "is an ELF file"),
        (b"text", "is no bootable x86 kernel"),
        (bzimage()[:600], "is no bootable x86 kernel"),
        (bzimage(flags=0), "is a 32-bit kernel"),
    ],
)
def test_what_does_not_boot_is_told(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=text):
        release_of(path)


def test_an_image_with_its_modules(put) -> None:
    top = put(
        {"vmlinuz": bzimage(), f"config-{RELEASE}": CONFIG, "m/modules.builtin": "kernel/a-b.ko\n"},
        {"m/kernel/kvm-amd.ko": RELEASE},
    )
    found = find_kernel(str(top / "vmlinuz"), str(top / "m"))
    assert found.release == RELEASE
    assert set(found.modules) == {"kvm_amd"}
    assert found.built_in == {"a_b"}
    assert found.config == {"CONFIG_EVENTFD": "y", "CONFIG_KVM": "y", "CONFIG_KVM_AMD": "m"}


def test_a_built_tree(put) -> None:
    top = put(
        {
            "arch/x86/boot/bzImage": bzimage(),
            ".config": CONFIG,
            "modules.order": "arch/x86/kvm/kvm-amd.o\nnot/built.ko\n",
        },
        {"arch/x86/kvm/kvm-amd.ko": RELEASE},
    )
    found = find_kernel(str(top))
    assert (found.release, set(found.modules)) == (RELEASE, {"kvm_amd"})
    assert found.config is not None
    assert found.config["CONFIG_KVM_AMD"] == "m"


def test_a_tree_that_is_not_built_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no built kernel tree: it has no arch/x86/boot"):
        find_kernel(str(tmp_path))


def test_modules_of_nowhere_are_told(put) -> None:
    top = put({"vmlinuz": bzimage()})
    with pytest.raises(UsageError, match="there is no such folder"):
        find_kernel(str(top / "vmlinuz"), str(top / "none"))


def test_the_hosts_own_kernel(put) -> None:
    boot = put({f"vmlinuz-{RELEASE}": bzimage()})
    assert kernels._host(RELEASE, boot).release == RELEASE
    with pytest.raises(LabUnavailable, match=r"the running kernel, 7\.0, does not lie in"):
        kernels._host("7.0", boot)


def whole(put) -> kernels.Kernel:
    names = {f"m/{name}.ko": RELEASE for name in MODULES}
    top = put({"vmlinuz": bzimage(), "m/modules.builtin": ""}, names)
    return with_modules(find_kernel(str(top / "vmlinuz")), top / "m")


def test_modules_go_in_with_their_order(put) -> None:
    archive = initramfs.module_archive(whole(put), SVM)
    assert b'[["virtio_pci", ""], ["virtio_console", ""], ["kvm_amd", ""]]' in archive
    shadow = initramfs.module_archive(whole(put), backend("svm-shadow"))
    assert b'["kvm_amd", "npt=0"]' in shadow


@pytest.mark.parametrize("name", MODULES)
def test_a_missing_module_is_told(put, name: str) -> None:
    kernel = whole(put)
    wanted = name.replace("-", "_")
    modules = {key: path for key, path in kernel.modules.items() if key != wanted}
    with pytest.raises(LabUnavailable, match=f"the module {wanted}.* is not there"):
        initramfs.module_archive(replace(kernel, modules=modules), SVM)
    if wanted != "kvm_amd":  # the controls: built in, and where nothing tells
        built_in = replace(kernel, modules=modules, built_in=frozenset({wanted}))
        assert initramfs.module_archive(built_in, SVM)
    assert initramfs.module_archive(replace(kernel, modules=modules, built_in=None), SVM)


def test_modules_of_another_kernel_are_told(put) -> None:
    kernel = whole(put)
    put({}, {"m/kvm-amd.ko": "6.8.0-other"})
    with pytest.raises(LabUnavailable, match=r"kvm_amd is of Linux 6\.8\.0-other, and .*6\.9"):
        initramfs.module_archive(kernel, SVM)


def test_a_module_that_is_needed_as_one_must_be_there(put) -> None:
    kernel = replace(
        whole(put), modules={}, config=dict.fromkeys((*initramfs.NEEDED, *VIRTIO.options), "y")
    )
    config = {**(kernel.config or {}), "CONFIG_KVM_AMD": "m"}
    with pytest.raises(LabUnavailable, match="the module kvm_amd is not there"):
        initramfs.check(replace(kernel, config=config), SVM)
