from __future__ import annotations

import re

import pytest

from kvmabi.errors import UsageError
from kvmabi.lab.build import config
from kvmabi.lab.build.config import FLAVOURS, X86, Option, flavour, not_as_wanted, wanted
from kvmabi.lab.kernels import read_config
from kvmabi.lab.rootfs import initramfs

VERSIONS = ((6, 1, 192), (6, 12, 117), (7, 2, 0))


def names(kind: str, version: tuple[int, ...] = (6, 1, 0)) -> dict[str, str]:
    return {one.name: one.value for one in wanted(flavour(kind), X86, version)}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", FLAVOURS)
def test_every_flavour_has_what_the_lab_looks_for(kind: str, version: tuple[int, ...]) -> None:
    have = read_config(config.text(wanted(flavour(kind), X86, version)))
    assert set(initramfs.NEEDED) <= have.keys()
    assert have["CONFIG_KVM"] == have["CONFIG_KVM_AMD"] == have["CONFIG_KVM_INTEL"] == "m"


def test_a_flavour_adds_its_own() -> None:
    assert "KASAN" not in names("tiny")
    assert names("debug")["KASAN"] == names("debug")["DEBUG_KMEMLEAK"] == "y"
    assert names("tiny")["DEBUG_INFO_BTF"] == "y"
    assert "DEBUG_INFO_BTF" not in names("bare")
    assert [kind for kind, one in FLAVOURS.items() if not one.needs_pahole] == ["bare"]


def test_the_release_tells_the_flavour() -> None:
    assert {names(kind)["LOCALVERSION"] for kind in FLAVOURS} == {'"-tiny"', '"-bare"', '"-debug"'}


@pytest.mark.parametrize("kind", FLAVOURS)
def test_every_option_stands_once_and_has_its_reason(kind: str) -> None:
    options = wanted(flavour(kind), X86, (6, 1, 0))
    assert len({one.name for one in options}) == len(options)
    assert all(one.why for one in options)
    assert all(re.fullmatch(r"[A-Z0-9_]+", one.name) for one in options)


def test_an_option_belongs_to_its_versions() -> None:
    assert "CPU_MITIGATIONS" not in names("tiny", (6, 8, 3))
    assert names("tiny", (6, 9, 0))["CPU_MITIGATIONS"] == "n"
    assert "SPECULATION_MITIGATIONS" not in names("tiny", (6, 9, 0))
    assert "KVM_SMM" not in names("tiny", (6, 1, 192))


def test_an_unknown_flavour_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="tiny, bare, debug"):
        flavour("fat")


def test_options_are_written_as_kconfig_reads_them() -> None:
    rows = (Option("A", "y", "-"), Option("B", "n", "-"), Option("C", '"x y"', "-"))
    assert config.text(rows) == 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x y"\n'


@pytest.mark.parametrize(
    ("value", "got", "says"),
    [
        ("y", {"CONFIG_A": "y"}, []),
        ("n", {}, []),
        ("m", {"CONFIG_A": "y"}, ["CONFIG_A is y, wanted m (why)"]),
        ("y", {"CONFIG_AA": "y"}, ["CONFIG_A is n, wanted y (why)"]),
        ("n", {"CONFIG_A": "m"}, ["CONFIG_A is m, wanted n (why)"]),
    ],
)
def test_what_came_out_otherwise_is_told(value: str, got: dict[str, str], says: list[str]) -> None:
    assert not_as_wanted([Option("A", value, "why")], got) == says
