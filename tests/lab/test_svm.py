"""Debian's own kernels, with their own KVM, on an emulated AMD CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode, KernelLost
from kvmabi.lab import cache, kernels, klog
from kvmabi.lab.archive import Entry
from kvmabi.lab.backends import backend
from kvmabi.lab.frames import Frame, Kind
from kvmabi.lab.machine import qemu
from kvmabi.lab.machine.emulator import Machine
from kvmabi.lab.rootfs import cpio, initramfs
from kvmabi.lab.session import Job, Session
from kvmabi.results import Verdict, read_result

pytestmark = pytest.mark.lab

SVM = backend("svm")
CACHE = cache.folder()
CRASH = """\
#!/usr/bin/{python} -ISB
import sys, time
sys.path.insert(0, "/kvmabi")
from kvmabi.lab.inside import init as inside
def verb(arguments):
    print("before", flush=True)
    time.sleep(0.5)
    {fault}
    return 0
inside._verb_main = lambda: verb
inside.main()
"""
MARK = 'open("/dev/kmsg", "w").write("kvmabi: case the-last-one\\n")'
FAULTS = {
    "panic": f'{MARK}; open("/proc/sysrq-trigger", "w").write("c")',
    "reboot": 'open("/proc/sysrq-trigger", "w").write("b")',
    "finding": f'{MARK}; open("/dev/kmsg", "w").write("BUG: of nobody\\n"); time.sleep(0.2)',
}

# A shell's background job ignores Ctrl-C, and so would all that it starts.
HEED_CTRL_C = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kvmabi.cli import main
sys.exit(main())
"""
WITH_SIGINT = [sys.executable, "-c", HEED_CTRL_C]


def lab(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvmabi", "lab", "run", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        **options,  # type: ignore[call-overload]
    )


def boot_with(fault: str) -> tuple[list[Frame], str]:
    """Boot Debian's 6.1 with a verb that does something else, and return what came of it."""
    kernel = kernels.find_kernel("debian:6.1")
    whole = initramfs.build(kernel, SVM)
    python = initramfs.Userland().python
    other = Entry("init", 0o755, CRASH.format(python=python, fault=FAULTS[fault]).encode())
    frames: list[Frame] = []
    emulator = qemu.Emulator(Machine(SVM, kernel.image), whole + cpio.archive([other]))
    with Session(emulator, Job(["x"]), deadline_s=120, boot_deadline_s=120) as session:
        try:
            frames.extend(filter(None, session.frames()))
        except KernelLost as error:
            return frames, f"{error}\n{klog.running_case(session.console)}"
    return frames, ""


@pytest.mark.slow
def test_the_whole_matrix_on_debians_kernel(tmp_path: Path) -> None:
    out = tmp_path / "result.jsonl"
    done = lab("--kernel", "debian:6.1", "--", "matrix", "--json", str(out))
    result = read_result(out)
    assert done.returncode == ExitCode.KEPT, done.stdout + done.stderr
    assert result.end is not None
    assert result.end.executed == result.end.planned > 10_000
    assert {case.verdict for case in result.cases} == {Verdict.PASS}
    assert result.run.host["back_end"] == "kvm_amd"
    assert str(result.run.host["kernel_release"]).startswith("6.1.")
    assert result.run.abi["mask_source"] == "BTF"


@pytest.mark.parametrize("back_end", ["svm", "svm-shadow"])
def test_a_few_cases_and_nothing_left_behind(tmp_path: Path, back_end: str) -> None:
    before = set(Path("/tmp").iterdir())
    out = tmp_path / "result.jsonl"
    words = ["--backend", back_end, "--", "matrix", "--filter", "pio-len4-eq", "--json", str(out)]
    done = lab(*words)
    assert done.returncode == ExitCode.KEPT, done.stdout + done.stderr
    run = read_result(out).run
    assert isinstance(run.host["lab"], dict)
    assert run.host["lab"]["backend"] == back_end
    assert f"in the lab: {back_end} by QEMU" in done.stdout
    assert not {path for path in set(Path("/tmp").iterdir()) - before if "kvmabi" in path.name}


def test_an_image_with_a_folder_of_modules(tmp_path: Path) -> None:
    debian = kernels.find_kernel("debian:6.1")
    image, modules = tmp_path / "bzImage", tmp_path / "modules"
    image.symlink_to(debian.image)
    modules.symlink_to(next(iter(debian.modules.values())).parent)
    words = ["--kernel", str(image), "--modules", str(modules), "--", "matrix", "--list"]
    done = lab(*words)
    assert done.returncode == ExitCode.KEPT, done.stderr
    assert len(done.stdout.splitlines()) > 10_000


def test_an_image_without_its_modules_is_told_plainly(tmp_path: Path) -> None:
    image = tmp_path / "bzImage"
    image.symlink_to(kernels.find_kernel("debian:6.1").image)
    done = lab("--kernel", str(image), "--", "matrix")
    assert done.returncode == ExitCode.NOTHING_CHECKED
    assert "this kernel cannot be tested: it has no virtio_pci or virtio_console" in done.stderr


def test_a_second_run_goes_on_from_the_snapshot(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("KVMABI_CACHE", str(tmp_path))
    for name in ("packages", "apt", "kernels", "initramfs"):
        (tmp_path / name).symlink_to(CACHE / name)
    place = tmp_path / "snapshots"
    booted = []
    for name in ("first", "second", "damaged"):
        log = tmp_path / name
        if name == "damaged":
            for path in place.glob("*.state"):
                path.write_bytes(path.read_bytes()[:100_000])
        done = lab("--log", str(log), "--", "matrix", "--filter", "wide-store-first4")
        assert done.returncode == ExitCode.KEPT, done.stderr
        booted.append("Nested Paging enabled" in log.read_text())
    assert booted == [True, False, True]
    assert len(list(place.glob("*.state"))) == 1


def test_without_snapshots_none_is_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("KVMABI_CACHE", str(tmp_path))
    for name in ("packages", "apt", "kernels", "initramfs"):
        (tmp_path / name).symlink_to(CACHE / name)
    assert lab("--fresh", "--", "matrix", "--list").returncode == ExitCode.KEPT
    assert not (tmp_path / "snapshots").exists()


def test_one_case_alone_shows_its_ioctls() -> None:
    listed = lab("--", "matrix", "--list", "--filter", "pio-len4-eq").stdout.split()
    done = lab("--", "matrix", "--repro", listed[0])
    assert done.returncode == ExitCode.KEPT
    assert "KVM_IOEVENTFD" in done.stdout or "assign" in done.stdout
    assert done.stdout.endswith("all as promised\n")


def test_wrong_usage_inside_is_wrong_usage_here() -> None:
    done = lab("--", "matrix", "--filter", "no-such-case")
    assert done.returncode == ExitCode.USAGE
    assert "no case fits" in done.stderr


def test_a_panic_keeps_what_came_before_and_the_last_words() -> None:
    frames, lost = boot_with("panic")
    assert Frame(Kind.OUT, b"before\n") in frames
    assert "the machine went down" in lost
    assert "Kernel panic - not syncing" in lost or "sysrq: Trigger a crash" in lost
    assert lost.endswith("\nthe-last-one")


def test_a_sudden_reboot_is_a_lost_kernel() -> None:
    frames, lost = boot_with("reboot")
    assert Frame(Kind.OUT, b"before\n") in frames
    assert "the machine went down" in lost


def test_the_kernels_log_comes_out_in_its_place() -> None:
    frames, lost = boot_with("finding")
    assert lost == ""
    reader = klog.LogReader()
    for frame in frames:
        if frame.kind is Kind.LOG:
            reader.kmsg(frame.payload)
    assert [one.title for one in reader.take("the-last-one")] == ["BUG: of nobody"]
    assert frames[-1].kind is Kind.EXIT


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_no_emulator_outlives_the_command(by: signal.Signals) -> None:
    words = [*WITH_SIGINT, "lab", "run", "--", "matrix"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as ours:
        emulator = wait_for_child(ours.pid)
        time.sleep(1)
        os.kill(ours.pid, by)
        ours.communicate(timeout=60)
        assert ours.returncode == (130 if by is signal.SIGINT else -by)
        give_up = time.monotonic() + 10
        while is_alive(emulator) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert not is_alive(emulator)


def test_ctrl_c_keeps_what_had_ended(tmp_path: Path) -> None:
    out = tmp_path / "result.jsonl"
    words = [*WITH_SIGINT, "lab", "run", "--", "matrix", "--json", str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True, text=True) as ours:
        give_up = time.monotonic() + 120
        while not out.exists() or out.read_bytes().count(b"\n") < 10:
            assert time.monotonic() < give_up
            time.sleep(0.1)
        os.kill(ours.pid, signal.SIGINT)
        text, _ = ours.communicate(timeout=60)
    result = read_result(out)
    assert ours.returncode == 130
    assert result.end is not None
    assert result.end.interrupted
    assert len(result.cases) == result.end.executed >= 8
    assert "(interrupted)" in text
    assert "--resume" not in text


def wait_for_child(pid: int) -> int:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = path.read_text().partition(" (")[2].rpartition(") ")
            except OSError:
                continue
            if int(rest.split()[1]) == pid and name.startswith("qemu-system"):
                return int(path.parent.name)
        time.sleep(0.05)
    pytest.fail("no emulator was started")


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_two_labs_side_by_side_do_not_meet(tmp_path: Path) -> None:
    runs = []
    for name in ("pio-len4-eq", "pio-len2-eq"):
        words = ["--", "matrix", "--filter", name, "--json", str(tmp_path / name)]
        command = [sys.executable, "-m", "kvmabi", "lab", "run", *words]
        runs.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    assert [one.wait(timeout=300) for one in runs] == [ExitCode.KEPT, ExitCode.KEPT]
    for name in ("pio-len4-eq", "pio-len2-eq"):
        result = read_result(tmp_path / name)
        assert result.cases
        assert all(name in case.id for case in result.cases)


def test_the_initramfs_is_the_same_each_time() -> None:
    kernel = kernels.find_kernel("debian:6.1")
    assert initramfs.build(kernel, SVM) == initramfs.build(kernel, SVM)
    userland = initramfs.Userland()
    first = userland.code_archive().read_bytes()
    userland.code_archive().unlink()
    assert userland.code_archive().read_bytes() == first


def test_a_deadline_ends_a_boot() -> None:
    # a snapshot's first cases end within the second, and are a result
    done = lab("--fresh", "--deadline", "1", "--", "matrix")
    assert done.returncode == ExitCode.HARNESS_FAILED
    assert "the run was not over after 1 s" in done.stderr
