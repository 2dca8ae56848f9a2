from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab import apt, cache, kernels

SHOW = """\
Package: {name}
Version: 6.1.9-1
Architecture: amd64
Depends: python3.12-minimal (>= 3.12), y
SHA256: {sha256}
Description: x

"""


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch, make_deb):
    """Fake apt tools that know what is put into a folder; their calls are logged."""
    tools, pool = tmp_path / "tools", tmp_path / "pool"
    tools.mkdir()
    pool.mkdir()
    lists = tmp_path / "lists"
    lists.mkdir()
    monkeypatch.setattr(apt, "LISTS", lists)
    scripts = {
        "apt-cache": f'echo "$@" >>{tmp_path}/calls\ncase $1 in pkgnames) ls {pool} | grep "^$2";;'
        f" show) shift 2; for one; do cat {pool}/$one/show 2>/dev/null; done;; esac\n",
        "apt-get": f'echo "$@" >>{tmp_path}/calls\nname=${{3%%=*}}\n'
        f"cp {pool}/$name/file.deb ./$name.deb || {{ echo E: gone >&2; exit 100; }}\n",
    }
    for name, text in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")

    class Distribution:
        calls = tmp_path / "calls"
        lists_folder = lists

        def add(self, name: str, files: dict[str, bytes | str], sha256: str = "") -> None:
            (pool / name).mkdir()
            deb = make_deb(files, name=f"{name}.deb")
            shutil.copy(deb, pool / name / "file.deb")
            digest = sha256 or hashlib.sha256(deb.read_bytes()).hexdigest()
            (pool / name / "show").write_text(SHOW.format(name=name, sha256=digest))

        def remove(self, name: str) -> None:
            shutil.rmtree(pool / name)

    return Distribution()


def kernel_files(release: str) -> dict[str, bytes | str]:
    return {
        f"./boot/vmlinuz-{release}": b"image of " + release.encode(),
        f"./boot/config-{release}": b"CONFIG_KVM=m\n# CONFIG_X is not set\n",
        f"./lib/modules/{release}/kernel/arch/x86/kvm/kvm-amd.ko": b"module",
        f"./lib/modules/{release}/kernel/sound/loud.ko": b"not needed",
        f"./lib/modules/{release}/modules.dep": b"",
    }


def test_the_newest_kernel_of_a_version_is_taken(distribution) -> None:
    for release in ("6.1.0-9", "6.1.0-10", "6.12.1+deb12", "6.12.0-99"):
        name = f"linux-image-{release}-cloud-amd64-unsigned"
        distribution.add(name, kernel_files(release))
        distribution.add(name.replace("-cloud", ""), kernel_files(f"{release}-other"))
    found = kernels.find_kernel("debian:6.1")
    assert found.release == "6.1.0-10"
    assert found.image.read_bytes() == b"image of 6.1.0-10"
    assert found.config == {"CONFIG_KVM": "m"}
    assert set(found.modules) == {"kvm_amd"}
    assert found.source == "Debian's linux-image-6.1.0-10-cloud-amd64-unsigned 6.1.9-1"
    assert kernels.find_kernel("debian:6.12").release == "6.12.1+deb12"
    assert kernels.find_kernel("debian:6.1.0-9").release == "6.1.0-9"


def test_a_second_time_nothing_is_asked_or_fetched(distribution) -> None:
    distribution.add("linux-image-6.1.0-9-cloud-amd64-unsigned", kernel_files("6.1.0-9"))
    first = kernels.find_kernel("debian:6.1")
    calls = distribution.calls.read_text()
    assert kernels.find_kernel("debian:6.1") == first
    assert distribution.calls.read_text() == calls


def test_a_download_that_was_cut_off_is_swept_by_the_next(distribution) -> None:
    distribution.add("linux-image-6.1.0-9-cloud-amd64-unsigned", kernel_files("6.1.0-9"))
    left = cache.folder("packages") / ".new-left"
    left.mkdir()
    os.utime(left, (5, 5))
    kernels.find_kernel("debian:6.1")
    assert not left.exists()


def test_new_lists_are_asked_again(distribution) -> None:
    distribution.add("linux-image-6.1.0-9-cloud-amd64-unsigned", kernel_files("6.1.0-9"))
    kernels.find_kernel("debian:6.1")
    distribution.add("linux-image-6.1.0-11-cloud-amd64-unsigned", kernel_files("6.1.0-11"))
    (distribution.lists_folder / "fresh").touch()
    assert kernels.find_kernel("debian:6.1").release == "6.1.0-11"


def test_a_wrong_checksum_is_refused_and_not_kept(distribution) -> None:
    name = "linux-image-6.1.0-9-cloud-amd64-unsigned"
    distribution.add(name, kernel_files("6.1.0-9"), sha256="0" * 64)
    for _ in range(2):
        with pytest.raises(LabUnavailable, match="another checksum than apt's"):
            kernels.find_kernel("debian:6.1")
    assert list(cache.folder("packages").iterdir()) == []


def test_without_a_network_the_reason_is_told(distribution) -> None:
    name = "linux-image-6.1.0-9-cloud-amd64-unsigned"
    distribution.add(name, kernel_files("6.1.0-9"))
    package = apt.candidates([name])[name]
    distribution.remove(name)
    with pytest.raises(LabUnavailable, match=r"E: gone; is there a network\?"):
        apt.fetch(package)


def test_a_version_that_apt_does_not_offer_is_told(distribution, monkeypatch) -> None:
    distribution.add("linux-image-6.1.0-9-cloud-amd64-unsigned", kernel_files("6.1.0-9"))
    monkeypatch.setattr(apt, "candidates", lambda _names: {})
    with pytest.raises(LabUnavailable, match=r"no kernel package of 6\.1: "):
        kernels.find_kernel("debian:6.1")


@pytest.mark.usefixtures("distribution")
def test_an_unknown_version_is_told() -> None:
    with pytest.raises(LabUnavailable, match=r"no kernel package of 6\.7: .*apt-get update"):
        kernels.find_kernel("debian:6.7")


@pytest.mark.usefixtures("distribution")
@pytest.mark.parametrize("name", ["debian:six", "debian:", "nothing", "/no/such.deb"])
def test_what_names_no_kernel_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError):
        kernels.find_kernel(name)


def test_a_package_file_is_taken_as_it_is(make_deb) -> None:
    deb = make_deb(kernel_files("6.9"), name="mine.deb")
    assert kernels.find_kernel(str(deb)).release == "6.9"
    with pytest.raises(UsageError, match="it is no kernel package"):
        kernels.find_kernel(str(make_deb({"./usr/bin/x": b""}, name="other.deb")))


def test_without_apt_it_says_so(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(apt, "LISTS", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LabUnavailable, match="there is no apt-cache here"):
        apt.names("linux-image")


def test_numbers_in_names_count_by_value() -> None:
    names = ["a-10", "a-9", "a-9.1", "a"]
    assert sorted(names, key=apt.natural) == ["a", "a-9", "a-9.1", "a-10"]


def test_depends_are_read(distribution) -> None:
    distribution.add("python3-minimal", {})
    assert "python3.12-minimal" in apt.depends("python3-minimal")
    assert apt.depends("nothing") == ""


def test_what_is_made_appears_whole_and_is_made_once() -> None:
    made = []

    def make() -> bytes:
        made.append(1)
        return b"data"

    path = cache.folder("some") / "file"
    assert cache.made(path, make).read_bytes() == b"data"
    assert cache.made(path, make) == path
    assert made == [1]
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_a_cache_that_cannot_be_made_is_told(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KVMABI_CACHE", str(tmp_path / "file"))
    with pytest.raises(LabUnavailable, match="KVMABI_CACHE can name another"):
        cache.folder("x")


def test_what_was_used_last_is_kept_and_the_half_made_is_swept(tmp_path: Path) -> None:
    for at, name in enumerate(["a.x", "b.x", "c.x", "d.y", ".new-1"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    (tmp_path / ".new-2").touch()
    (tmp_path / ".new-3/folder").mkdir(parents=True)
    os.utime(tmp_path / ".new-3", (5, 5))
    (tmp_path / ".new-4/folder").mkdir(parents=True)
    cache.used(tmp_path / "a.x")
    assert [path.name for path in cache.unused(tmp_path, "*.x", 2)] == ["b.x"]
    assert sorted(path.name for path in tmp_path.glob(".new-*")) == [".new-2", ".new-4"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with cache.whole_folder(tmp_path / "one") as fresh:
        (fresh / "file").write_text("first")
        assert not (tmp_path / "one").exists()
    with cache.whole_folder(tmp_path / "one") as fresh:
        (fresh / "file").write_text("second")
    assert (tmp_path / "one/file").read_text() == "first"
    with pytest.raises(KeyboardInterrupt), cache.whole_folder(tmp_path / "two") as fresh:
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_folder_that_cannot_get_its_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    with pytest.raises(NotADirectoryError), cache.whole_folder(tmp_path / "one"):
        pass


def test_keys_tell_parts_apart() -> None:
    assert cache.digest("a", "bc") != cache.digest("ab", "c")
    assert cache.digest(b"a") == cache.digest("a")
