"""The `kvm`, `lab` and `builds` markers skip by name, and fail where KVM or a lab is required."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def conftest() -> ModuleType:
    path = Path(__file__).parents[1] / "conftest.py"
    spec = importlib.util.spec_from_file_location("conftest_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def item(*, marked: bool, marker: str = "kvm") -> SimpleNamespace:
    return SimpleNamespace(
        get_closest_marker=lambda name: name if marked and name == marker else None
    )


@pytest.mark.parametrize("marker", ["lab", "builds"])
def test_a_lab_test_is_skipped_or_fails_by_its_own_reason(conftest, monkeypatch, marker) -> None:
    others = {"kvm", "lab", "build"} - {marker.rstrip("s")}
    for other in others:
        monkeypatch.setattr(conftest, f"why_no_{other}", lambda: "no such device")
    monkeypatch.setattr(conftest, f"why_no_{marker.rstrip('s')}", lambda: "no emulator")
    monkeypatch.setenv("KVMABI_REQUIRE_KVM", "1")
    monkeypatch.delenv("KVMABI_REQUIRE_LAB", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no emulator"):
        conftest.pytest_runtest_setup(item(marked=True, marker=marker))
    monkeypatch.setenv("KVMABI_REQUIRE_LAB", "1")
    with pytest.raises(pytest.fail.Exception, match="KVMABI_REQUIRE_LAB=1, but no emulator"):
        conftest.pytest_runtest_setup(item(marked=True, marker=marker))


def test_without_kvm_a_test_is_skipped_by_name(conftest, monkeypatch) -> None:
    monkeypatch.delenv("KVMABI_REQUIRE_KVM", raising=False)
    monkeypatch.setattr(conftest, "why_no_kvm", lambda: "no such device")
    with pytest.raises(pytest.skip.Exception, match="no such device"):
        conftest.pytest_runtest_setup(item(marked=True))


def test_where_kvm_is_required_it_fails(conftest, monkeypatch) -> None:
    monkeypatch.setenv("KVMABI_REQUIRE_KVM", "1")
    monkeypatch.setattr(conftest, "why_no_kvm", lambda: "no such device")
    with pytest.raises(pytest.fail.Exception, match="KVMABI_REQUIRE_KVM=1, but no such device"):
        conftest.pytest_runtest_setup(item(marked=True))


@pytest.mark.parametrize(("marked", "reason"), [(True, ""), (False, "no such device")])
def test_otherwise_a_test_runs(conftest, monkeypatch, marked: bool, reason: str) -> None:
    monkeypatch.setenv("KVMABI_REQUIRE_KVM", "1")
    monkeypatch.setattr(conftest, "why_no_kvm", lambda: reason)
    conftest.pytest_runtest_setup(item(marked=marked))


def test_the_reason_names_what_is_wrong(conftest, tmp_path: Path) -> None:
    assert "No such file" in conftest.why_no_kvm(str(tmp_path / "kvm"))
    assert "is no KVM" in conftest.why_no_kvm("/dev/null")
