from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab.modules import find_modules, in_order, modinfo, module_name, read_module


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/kvm-amd.ko", "kvm_amd"),
        ("virtio_pci.ko.xz", "virtio_pci"),
        ("x.ko.zst", "x"),
        ("x.ko.gz", "x"),
        ("modules.dep", ""),
        ("x.kobold", ""),
    ],
)
def test_a_module_is_named_as_the_kernel_names_it(path: str, name: str) -> None:
    assert module_name(path) == name


def test_modinfo_is_read_from_the_module(make_module) -> None:
    image = make_module("depends=a,b-c", "vermagic=6.1 SMP", "alias=x", "alias=y")
    assert modinfo(image) == {"depends": "a,b-c", "vermagic": "6.1 SMP", "alias": "x"}


@pytest.mark.parametrize("image", [b"", b"text", b"\x7fELF" + bytes(20)])
def test_what_is_no_module_is_refused(image: bytes) -> None:
    with pytest.raises(UsageError, match="is no readable module"):
        modinfo(image)


def test_each_module_stands_behind_what_it_needs(tmp_path: Path, make_module) -> None:
    def put(name: str, *depends: str) -> None:
        (tmp_path / name).write_bytes(make_module(f"depends={','.join(depends)}"))

    put("kvm-amd.ko", "kvm", "ccp")
    put("kvm.ko", "irqbypass")
    put("irqbypass.ko")
    put("ccp.ko")
    put("unused.ko")
    modules = find_modules(tmp_path)
    order = [name for name, _ in in_order(["kvm_amd", "kvm", "built_in"], modules)]
    assert order == ["irqbypass", "kvm", "ccp", "kvm_amd"]


def test_a_missing_need_is_an_error(tmp_path: Path, make_module) -> None:
    (tmp_path / "a.ko").write_bytes(make_module("depends=gone"))
    with pytest.raises(UsageError, match="the module a needs gone"):
        list(in_order(["a"], find_modules(tmp_path)))


def test_compressed_modules_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.ko.xz").write_bytes(lzma.compress(b"image"))
    (tmp_path / "a.ko.gz").write_bytes(gzip.compress(b"image"))
    assert read_module(tmp_path / "a.ko.xz") == read_module(tmp_path / "a.ko.gz") == b"image"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.ko.xz", b"damaged"),
        ("a.ko.gz", b"damaged"),
        ("a.ko.gz", gzip.compress(bytes(100))[:-12] + b"damaged....."),
        ("a.ko.zst", b"damaged"),
        ("missing/a.ko", b""),
    ],
)
def test_a_damaged_module_is_told_with_its_path(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    if data:
        path.write_bytes(data)
    with pytest.raises((UsageError, LabUnavailable), match=f"{name} (cannot be read|needs zstd)"):
        read_module(path)
