from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab.archive import entries


@pytest.mark.parametrize("suffix", ["xz", "gz", "bz2"])
def test_the_wanted_files_come_out(make_deb: Callable[..., Path], suffix: str) -> None:
    package = make_deb({"./a/b": b"text", "./a/c": b"not", "./l": "/a/b"}, suffix=suffix)
    found = list(entries(package, lambda path: path in ("a/b", "l")))
    assert [(one.path, one.data, one.target) for one in found] == [
        ("a/b", b"text", ""),
        ("l", b"", "/a/b"),
    ]
    assert found[0].mode == 0o755


def test_a_path_that_climbs_out_is_left_out(make_deb: Callable[..., Path]) -> None:
    package = make_deb({"../evil": b"x", "a/../../evil": b"x", "fine": b"y"})
    assert [one.path for one in entries(package, lambda _: True)] == ["fine"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04", "is no Debian package"),
        (b"!<arch>\n", "it has no data.tar"),
        (b"!<arch>\n" + b"debian-binary   " + b"x" * 44, "it has no data.tar"),
        (b"!<arch>\n" + b"debian-binary   ".ljust(48) + b"-60".ljust(12), "it has no data.tar"),
        (b"!<arch>\n" + b"data.tar".ljust(48) + b"5000".ljust(12), "is cut off: data.tar has 0"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=reason):
        list(entries(path, lambda _: True))


def test_a_truncated_package_is_refused(make_deb: Callable[..., Path]) -> None:
    package = make_deb({"a": bytes(range(256)) * 64})
    package.write_bytes(package.read_bytes()[:-200])
    with pytest.raises(UsageError, match="is cut off"):
        list(entries(package, lambda _: True))


def test_an_unknown_compression_needs_dpkg(make_deb, monkeypatch) -> None:
    package = make_deb({"a": b"x"}, suffix="zst")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LabUnavailable, match=r"holds data\.tar\.zst"):
        list(entries(package, lambda _: True))
