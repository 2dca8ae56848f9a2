"""Debian's own kernels, with their own KVM, on an emulated Intel CPU.

bochs takes a minute to boot one, and minutes on a busy machine: `make test` boots one, and looks at
all that it can see in that one run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode, KernelLost, LabUnavailable
from kvmabi.lab import kernels, klog
from kvmabi.lab.archive import Entry
from kvmabi.lab.backends import backend
from kvmabi.lab.frames import Frame, Kind
from kvmabi.lab.machine import start
from kvmabi.lab.machine.emulator import Machine, check_tools
from kvmabi.lab.rootfs import cpio, initramfs
from kvmabi.lab.session import Job, Session
from kvmabi.results import Result, Verdict, read_result

pytestmark = pytest.mark.lab

VMX = backend("vmx")
FAST = "kvm:kvm_fast_mmio"
DEADLINE_S = 2400
"""Of one run: bochs beside builds and other emulators, on two CPUs."""


@pytest.fixture(scope="module", autouse=True)
def emulator() -> None:
    try:
        check_tools(VMX)
    except LabUnavailable as error:
        if os.environ.get("KVMABI_REQUIRE_LAB") == "1":
            pytest.fail(f"KVMABI_REQUIRE_LAB=1, but {error}", pytrace=False)
        pytest.skip(str(error))


@dataclass(frozen=True)
class Run:
    """What one `lab run` left."""

    code: int
    out: str
    err: str
    result: Result

    def verdict(self, case_id: str) -> Verdict:
        (found,) = [case.verdict for case in self.result.cases if case.id == case_id]
        return found


def run_lab(folder: Path, *filters: str, kernel: str = "debian:6.1", name: str = "vmx") -> Run:
    path = folder / "result.jsonl"
    wanted = [word for one in filters for word in ("--filter", one)]
    words = ["--kernel", kernel, "--backend", name, "--trace", FAST, "--", "matrix", *wanted]
    done = subprocess.run(
        [sys.executable, "-m", "kvmabi", "lab", "run", *words, "--json", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert path.exists(), done.stderr
    return Run(done.returncode, done.stdout, done.stderr, read_result(path))


WRITES = "match-mmio-len0-any-w4-at0-write"
READS = "match-mmio-len0-any-w4-at0-read"
KEPT = ("match-pio-len4-equal-w4-at0-write", "match-mmio-len4-any-w4-at0-read")
DIVERGES = "phase-again-mmio-len0-any-w4-at0"
"""It reads where any length is registered, once it has written there, so that the page is known."""
FILTERS = (WRITES, READS, *KEPT, DIVERGES)


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A handful of cases in Debian's 6.1, one of them a known divergence."""
    return run_lab(tmp_path_factory.mktemp("vmx"), *FILTERS)


def test_debians_kernel_keeps_its_promises_on_vmx_but_for_what_is_known(debian: Run) -> None:
    assert debian.code == ExitCode.KEPT, debian.out + debian.err
    assert {case.verdict for case in debian.result.cases} <= {Verdict.PASS, Verdict.KNOWN}
    assert {debian.verdict(one) for one in KEPT} == {Verdict.PASS}
    assert debian.verdict(DIVERGES) is Verdict.KNOWN


def test_the_result_says_what_ran(debian: Run) -> None:
    host = debian.result.run.host
    assert host["back_end"] == "kvm_intel"
    assert isinstance(host["lab"], dict)
    assert host["lab"]["backend"] == "vmx"
    assert host["lab"]["cpu"] == "corei7_haswell_4770"
    assert host["lab"]["carrier"] == "debug-port"
    assert "ochs" in str(host["lab"]["emulator"])
    assert "in the lab: vmx by Bochs" in debian.out


def test_nothing_was_damaged_on_the_line(debian: Run) -> None:
    assert debian.result.end is not None
    assert debian.result.end.notes["carrier"] == "debug port, by instruction"
    assert debian.result.end.problems == ()
    assert debian.result.end.executed == debian.result.end.planned == len(debian.result.cases)


def test_the_fast_path_ran_and_was_counted(debian: Run) -> None:
    assert debian.result.end is not None
    traced = debian.result.end.notes["traced"]
    assert isinstance(traced, dict)
    fired = traced[FAST]
    assert isinstance(fired, int)
    assert fired > 0
    assert f"kvmabi lab: {FAST} fired {fired} times" in debian.err


@pytest.mark.lab_full
def test_without_ept_there_is_no_fast_path_and_no_divergence(tmp_path: Path) -> None:
    ran = run_lab(tmp_path, *FILTERS, name="vmx-shadow")
    assert ran.code == ExitCode.KEPT, ran.out + ran.err
    assert {case.verdict for case in ran.result.cases} == {Verdict.PASS}
    assert ran.result.end is not None
    assert ran.result.end.notes["traced"] == {FAST: 0}


@pytest.mark.lab_full
@pytest.mark.parametrize("kernel", ["debian:6.1", "debian:6.12"])
def test_what_is_known_of_vmx_is_all_that_disagrees(tmp_path: Path, kernel: str) -> None:
    ran = run_lab(tmp_path, "mmio-len0", "anylength", kernel=kernel)
    assert ran.code == ExitCode.KEPT, ran.out + ran.err
    verdicts = {case.verdict for case in ran.result.cases}
    assert verdicts == {Verdict.PASS, Verdict.KNOWN}


CRASH = """\
#!/usr/bin/{python} -ISB
import sys, time
sys.path.insert(0, "/kvmabi")
from kvmabi.lab.inside import init as inside
def verb(arguments):
    print("before", flush=True)
    time.sleep(0.5)
    open("/dev/kmsg", "w").write("kvmabi: case the-last-one\\n")
    open("/proc/sysrq-trigger", "w").write({command!r})
    return 0
inside._verb_main = lambda: verb
inside.main()
"""


@pytest.mark.lab_full
@pytest.mark.parametrize(
    ("command", "words"), [("c", "Kernel panic - not syncing"), ("b", "the machine went down")]
)
def test_a_machine_that_goes_down_is_lost_and_does_not_boot_again(command: str, words: str) -> None:
    kernel = kernels.find_kernel("debian:6.1")
    text = CRASH.format(python=initramfs.Userland().python, command=command)
    whole = initramfs.build(kernel, VMX) + cpio.archive([Entry("init", 0o755, text.encode())])
    job = Job(["x"])
    frames: list[Frame] = []
    emulator = start.boot(Machine(VMX, kernel.image), whole, job.line())
    patience = dict.fromkeys(("deadline_s", "boot_deadline_s", "silence_s"), DEADLINE_S)
    with Session(emulator, job, **patience) as session:
        with pytest.raises(KernelLost, match=words):
            frames.extend(filter(None, session.frames()))
        assert klog.running_case(session.console) == "the-last-one"
    assert Frame(Kind.OUT, b"before\n") in frames


def machines(pid: int) -> list[int]:
    """The processes of a command that are a running bochs, and not one that tells its version."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = path.read_text().rpartition(") ")[2]
            words = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(rest.split()[1]) == pid and words.startswith(b"bochs-bin\0") and b"-rc" in words:
            found.append(int(path.parent.name))
    return found


def wait_for(what: Callable[[], object]) -> None:
    give_up = time.monotonic() + 600
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.1)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_no_bochs_outlives_the_command_and_none_can_be_met(by: signal.Signals) -> None:
    before = set(Path("/tmp").iterdir())
    words = [sys.executable, "-m", "kvmabi", "lab", "run", "--backend", "vmx", "--", "matrix"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True) as ours:
        try:
            wait_for(lambda: machines(ours.pid))
            (bochs,) = machines(ours.pid)
            if os.geteuid() == 0:
                own_net = Path(f"/proc/{bochs}/ns/net").readlink()
                assert own_net != Path("/proc/self/ns/net").readlink()
            os.kill(ours.pid, by)
            ours.communicate(timeout=60)
        finally:
            ours.kill()
    wait_for(lambda: not Path(f"/proc/{bochs}").exists())
    assert not {path for path in set(Path("/tmp").iterdir()) - before if "kvmabi" in path.name}
