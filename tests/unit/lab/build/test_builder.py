from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvmabi.errors import BuildFailed, UsageError
from kvmabi.lab import image
from kvmabi.lab.build import builder
from kvmabi.lab.build.builder import MODULES, Builder
from kvmabi.lab.build.config import flavour
from kvmabi.lab.kernels import find_kernel


@pytest.fixture
def built(source: Path, tmp_path: Path) -> Builder:
    return Builder(source, tmp_path / "out", flavour("bare"), jobs=1)


def test_a_source_is_configured_and_built(built: Builder) -> None:
    built.configure()
    built.build()
    assert image.release_of(built.image) == "6.1.9-bare"
    assert "CONFIG_KVM=m" in (built.out / ".config").read_text()


def test_what_make_says_is_passed_on_and_kept(source: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    one = Builder(source, tmp_path / "out", flavour("bare"), progress=heard.append)
    one.configure()
    assert [line for line in heard if line.startswith("ARCH=x86_64")]
    assert one.log.read_text().splitlines() == heard


def test_an_environment_for_other_kernels_plays_no_part(
    built: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LOCALVERSION", "-mine"), ("KCFLAGS", "-O3"), ("MAKEFLAGS", "n")):
        monkeypatch.setenv(name, value)
    built.configure()
    assert "LOCALVERSION= KCFLAGS=\n" in built.log.read_text()


def test_make_gets_what_finds_tools_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    others = ["LLVM", "CC", "KCONFIG_CONFIG", "KCPPFLAGS", "KAFLAGS", "GNUMAKEFLAGS", "CPATH", "O"]
    for name in (*others, "HOME", "CCACHE_DIR"):
        monkeypatch.setenv(name, "x")
    lines: list[str] = []
    builder._run(["env"], lambda _data: None, lines.append)
    seen = {line.partition("=")[0] for line in lines}
    assert seen >= {"PATH", "HOME", "CCACHE_DIR", "LC_ALL", "KBUILD_BUILD_USER"}
    assert not seen & set(others)


def test_only_what_changed_is_built_again(built: Builder) -> None:
    built.configure()
    built.build()
    built.build()
    assert "cp image.c" not in built.log.read_text()
    (built.source / "virt/kvm/kvm.bin").touch()
    built.build(MODULES)
    assert "cp virt/kvm/kvm.bin" in built.log.read_text()


def test_an_option_that_came_out_otherwise_stops_the_build(built: Builder) -> None:
    (built.source / "extra.config").write_text("CONFIG_KVM_INTEL=y\n# CONFIG_SMP is not set\n")
    with pytest.raises(BuildFailed, match="CONFIG_KVM_INTEL is y, wanted m") as error:
        built.configure()
    assert error.value.exit_code == 4


def test_a_compiler_s_error_is_shown(built: Builder) -> None:
    (built.source / "image.c").write_text("bad\n")
    built.configure()
    with pytest.raises(BuildFailed, match=r"image\.c:1:2: error: not fine") as error:
        built.build()
    assert str(built.log) in str(error.value)
    assert "touch" not in str(error.value)


def test_what_failed_without_a_known_word_is_shown_all(built: Builder) -> None:
    (built.source / "virt/kvm/kvm.bin").unlink()
    built.configure()
    with pytest.raises(BuildFailed, match=r"No rule to make target"):
        built.build()


@pytest.mark.parametrize("name", [".config", "include/config", "arch/x86/include/generated"])
def test_a_source_that_was_built_in_place_is_refused(built: Builder, name: str) -> None:
    (built.source / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="mrproper"):
        built.configure()


def test_a_folder_that_is_no_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no kernel source tree"):
        Builder(tmp_path, tmp_path / "out", flavour("bare")).configure()


def test_what_is_published_is_a_kernel_without_its_source(built: Builder, tmp_path: Path) -> None:
    if shutil.which("strip") is None:
        pytest.skip("strip is not installed (binutils)")
    built.configure()
    built.build()
    folder = built.publish(tmp_path / "kernel")
    shutil.rmtree(built.source)
    shutil.rmtree(built.out)
    kernel = find_kernel(str(folder))
    assert kernel.release == "6.1.9-bare"
    assert list(kernel.modules) == ["kvm"]
    assert kernel.config is not None
    assert kernel.config["CONFIG_KVM"] == "m"


def test_a_command_that_is_stopped_ends_with_us(tmp_path: Path) -> None:
    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    script = f"echo go; sleep 600; touch {tmp_path}/late"
    with pytest.raises(KeyboardInterrupt):
        builder._run(["sh", "-c", script], lambda _data: None, stop)
    assert not (tmp_path / "late").exists()


KILLED = """
from kvmabi.lab.build.builder import _run
_run(["sh", "-c", "echo $$; exec sleep 600"], lambda _: None, lambda line: print(line, flush=True))
"""


def is_alive(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_make_does_not_outlive_us() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as us:
        assert us.stdout is not None
        pid = us.stdout.readline().strip()
        assert is_alive(pid)
        us.kill()
    give_up = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not is_alive(pid)
