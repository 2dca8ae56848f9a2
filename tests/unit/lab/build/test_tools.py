from __future__ import annotations

import shutil

import pytest

from kvmabi.errors import ToolMissing
from kvmabi.lab.build import tools
from kvmabi.lab.build.config import flavour


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name in missing else f"/bin/{name}")
    monkeypatch.setattr(tools, "_has_header", lambda name: name not in missing)


def test_all_that_is_missing_is_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "flex", "bison", "pahole")
    with pytest.raises(ToolMissing) as error:
        tools.check(flavour("tiny"))
    assert "needs flex, bison, pahole" in str(error.value)
    assert str(error.value).endswith("--no-install-recommends flex bison dwarves")
    assert error.value.exit_code == 3


def test_a_missing_header_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "gelf.h")
    with pytest.raises(ToolMissing, match=r"needs gelf\.h.* libelf-dev$"):
        tools.check(flavour("tiny"))


def test_pahole_is_needed_for_btf_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pahole")
    tools.check(flavour("bare"))
    with pytest.raises(ToolMissing, match="dwarves"):
        tools.check(flavour("debug"))


def test_where_all_is_there_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    tools.check(flavour("tiny"))
