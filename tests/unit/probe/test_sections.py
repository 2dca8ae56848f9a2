"""Sections fail by themselves: one that raises, one that has nothing to ask, one that hangs."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from kvmabi.errors import IoctlError, KvmUnavailable, UsageError
from kvmabi.probing import run
from kvmabi.probing.run import SECTIONS, choose, probe
from kvmabi.probing.setting import Skip


def stand_in(monkeypatch: pytest.MonkeyPatch, gathers: dict[str, Any]) -> None:
    def find(name: str) -> object:
        return SimpleNamespace(gather=gathers[name.rpartition(".")[2]], ABI_VERSION="7.2")

    monkeypatch.setattr(run.importlib, "import_module", find)
    monkeypatch.setattr(run, "why_absent", lambda _: None)
    gathers.setdefault("uapi", None)


def raising(error: Exception) -> Any:
    def gather(_: object) -> Any:
        raise error

    return gather


def test_one_that_fails_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(
        monkeypatch,
        {
            "caps": raising(IoctlError(22, "KVM_X", "system")),
            "limits": raising(Skip("nothing here")),
            "devices": raising(KvmUnavailable("no definitions")),
            "stats": raising(ZeroDivisionError("oops")),
            "msrs": lambda _: {"fine": 1},
        },
    )
    kinds = choose(["caps", "limits", "devices", "stats", "msrs"])
    found = probe(kinds).sections
    assert {name: one.status for name, one in found.items()} == {
        "caps": "failed",
        "limits": "skipped",
        "devices": "skipped",
        "stats": "failed",
        "msrs": "ok",
    }
    assert "KVM_X" in found["caps"].reason
    assert found["limits"].reason == "nothing here"
    assert found["stats"].reason == "a bug in kvmabi: ZeroDivisionError: oops"
    assert found["msrs"].data == {"fine": 1}


def test_one_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    stand_in(monkeypatch, {"caps": lambda _: release.wait() and {}, "msrs": lambda _: {"fine": 1}})
    monkeypatch.setattr(run, "DEADLINE_S", 0.05)
    found = probe(choose(["caps", "msrs"])).sections
    release.set()
    assert found["caps"].status == "failed"
    assert "did not end" in found["caps"].reason
    assert found["msrs"].status == "ok"


def test_sections_are_chosen_by_name_and_by_group() -> None:
    assert choose([]) == SECTIONS
    assert [kind.name for kind in choose(["ioeventfd", "caps"])] == ["caps", "ioeventfd"]
    assert {kind.name for kind in choose(["lists"])} == {
        "limits",
        "devices",
        "stats",
        "msrs",
        "cpuid",
    }
    with pytest.raises(UsageError, match="capps"):
        choose(["capps"])
