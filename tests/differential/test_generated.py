"""What is committed is what the headers give, and ctypes lays it out as a compiler does."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from kvmabi import arch
from kvmabi.abi.build import read_abi
from kvmabi.abi.emit import in_abi
from kvmabi.uapi import x86

TOP = Path(__file__).parents[2]


def test_the_committed_files_are_up_to_date(tool):
    for name, text in tool.generated().items():
        assert (TOP / name).read_text(encoding="utf-8") == text, f"{name}: run --emit"


def test_check_says_so_and_notices_a_change(tool, tmp_path, monkeypatch, capsys):
    files = tool.generated()
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "generated", lambda: files)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert tool.main(["--check"]) == 0
    changed = tmp_path / "kvmabi/uapi/x86.py"
    changed.write_text(
        changed.read_text().replace("KVM_EXIT_IO: Final = 2", "KVM_EXIT_IO: Final = 3")
    )
    assert tool.main(["--check"]) == 1
    assert "kvmabi/uapi/x86.py" in capsys.readouterr().out
    assert tool.main(["--emit"]) == 0
    assert changed.read_text() == files["kvmabi/uapi/x86.py"]


def test_the_tool_runs_as_a_script():
    pytest.importorskip("ziglang")
    done = subprocess.run(
        [sys.executable, str(TOP / "tools/update_headers.py"), "--check"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_ctypes_agrees_with_the_model_that_the_compiler_proves(tool):
    abi = read_abi(tool.header_tree(arch.X86), arch.X86, overlays=tool.overlay_sources())
    sizes = offsets = 0
    for record in abi.records.values():
        class_ = getattr(x86, record.name, None)
        if class_ is None:
            continue
        assert ctypes.sizeof(class_) == record.size, record.name
        sizes += 1
        for field in record.fields:
            if field.name is not None and field.bit_width is None:
                descriptor = getattr(class_, field.name)
                assert (descriptor.offset, descriptor.size) == (field.offset, field.size)
                offsets += 1
    assert sizes >= 180
    assert offsets >= 700


def test_numbers_agree_with_the_model_that_the_compiler_proves(tool):
    abi = read_abi(tool.header_tree(arch.X86), arch.X86, overlays=tool.overlay_sources())
    expected = {e.name: e.value for e in abi.enumerators.values() if in_abi(e.origin)}
    expected |= {m.name: m.value for m in abi.macros.values()
                 if m.value is not None and in_abi(m.origin)}  # fmt: skip
    expected |= {i.name: i.number for i in abi.ioctls.values() if in_abi(i.origin)}
    assert {name: getattr(x86, name) for name in expected} == expected
    assert len(expected) > 750


def test_no_name_of_the_abi_is_missing(tool):
    abi = read_abi(tool.header_tree(arch.X86), arch.X86, overlays=tool.overlay_sources())
    macros = {m.name for m in abi.macros.values() if in_abi(m.origin)}
    names = macros | {i.name for i in abi.ioctls.values() if in_abi(i.origin)}
    accounted = {*vars(x86), *x86.OPAQUE, *x86.DEFINED}
    assert names - accounted == set()
