"""The shipped guest is what its source builds to, wherever that lies."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from kvmabi.guest import exerciser_image
from kvmabi.vmm import layout
from kvmabi.vmm.loader import load_elf

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


def test_the_source_builds_to_the_shipped_bytes(build_guest) -> None:
    assert build_guest.build_guest() == exerciser_image()


def test_it_builds_to_them_from_another_path(build_guest, tmp_path: Path) -> None:
    elsewhere = copy_source(build_guest, tmp_path / "a rather long and odd path")
    assert build_guest.build_guest(elsewhere) == exerciser_image()


def test_a_changed_source_builds_to_other_bytes(build_guest, tmp_path: Path) -> None:
    changed = copy_source(build_guest, tmp_path / "changed")
    source = changed / "pci.c"
    source.write_text(source.read_text().replace("0x00051b36u", "0x00061b36u"))
    assert build_guest.build_guest(changed) != exerciser_image()


def test_the_check_tells_a_stale_image(build_guest, tmp_path: Path, monkeypatch) -> None:
    stale = tmp_path / "exerciser.elf"
    stale.write_bytes(exerciser_image() + b"\0")
    monkeypatch.setattr(build_guest, "IMAGE", stale)
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
