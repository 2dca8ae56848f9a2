"""The shipped guest is what its source builds to, wherever that lies."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from kvmabi.guest import bench_image, exerciser_image
from kvmabi.vmm import layout
from kvmabi.vmm.loader import load_elf
from kvmabi.vmm.pc.multiboot import load_multiboot

TOP = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def build_guest():
    pytest.importorskip("ziglang", reason="the guest's compiler; pip install kvmabi[test]")
    spec = importlib.util.spec_from_file_location("build_guest", TOP / "tools/build_guest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy_source(tool, to: Path) -> Path:
    return Path(shutil.copytree(tool.GUEST, to, ignore=shutil.ignore_patterns("*.elf", "__py*")))


SHIPPED = {"exerciser": exerciser_image, "bench": bench_image}


def guest_of(tool, name: str):
    return next(guest for guest in tool.GUESTS if guest.name == name)


def test_all_guests_are_known(build_guest) -> None:
    assert {guest.name for guest in build_guest.GUESTS} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_source_builds_to_the_shipped_bytes(build_guest, name: str) -> None:
    assert build_guest.build_guest(guest=guest_of(build_guest, name)) == SHIPPED[name]()


@pytest.mark.parametrize("name", SHIPPED)
def test_it_builds_to_them_from_another_path(build_guest, name: str, tmp_path: Path) -> None:
    elsewhere = copy_source(build_guest, tmp_path / "a rather long and odd path")
    assert build_guest.build_guest(elsewhere, guest_of(build_guest, name)) == SHIPPED[name]()


def test_a_changed_source_builds_to_other_bytes(build_guest, tmp_path: Path) -> None:
    changed = copy_source(build_guest, tmp_path / "changed")
    source = changed / "pci.c"
    source.write_text(source.read_text().replace("0x00051b36u", "0x00061b36u"))
    assert build_guest.build_guest(changed) != exerciser_image()


def test_the_check_tells_a_stale_image(build_guest, tmp_path: Path, monkeypatch) -> None:
    shipped = copy_source(build_guest, tmp_path / "guest")
    stale = shipped / "exerciser.elf"
    stale.write_bytes(exerciser_image() + b"\0")
    (shipped / "bench.elf").write_bytes(bench_image())
    monkeypatch.setattr(build_guest, "GUEST", shipped)
    monkeypatch.setattr("sys.argv", ["build_guest.py", "--check"])
    assert build_guest.main() == 1
    monkeypatch.setattr("sys.argv", ["build_guest.py"])
    assert build_guest.main() == 0
    assert stale.read_bytes() == exerciser_image()


def test_the_image_is_small_and_fits() -> None:
    data = exerciser_image()
    assert len(data) < 16 * layout.KIB
    image = load_elf(data, low=layout.IMAGE_GPA, high=layout.IMAGE_END)
    assert image.entry == layout.IMAGE_GPA
    assert str(TOP).encode() not in data


def test_the_bench_image_is_a_small_multiboot_image() -> None:
    data = bench_image()
    assert len(data) < 32 * layout.KIB
    assert load_multiboot(data, ram_end=16 * layout.MIB, name="bench").entry == 2 * layout.MIB + 12
    assert str(TOP).encode() not in data
