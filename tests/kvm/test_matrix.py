"""The matrix on the real KVM, and what it says where a rule of the contract is wrong.

Each flipped rule is a negative control: KVM keeps its promises, so a contract that promises
something else must be contradicted, by the right promise's number.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmabi.ioeventfd import contract, promises
from kvmabi.ioeventfd.contract import Answer, Bus, Kernel, Reaction, VmContract
from kvmabi.ioeventfd.detect import detect_kernel
from kvmabi.ioeventfd.offer import from_record
from kvmabi.ioeventfd.run import Supervisor
from kvmabi.ioeventfd.select import select
from kvmabi.ioeventfd.steps import Case
from kvmabi.ioeventfd.worker import Report
from kvmabi.kvm import System

pytestmark = pytest.mark.kvm
TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    with System.open() as system:
        return detect_kernel(system)


def play(cases: list[Case], kernel: Kernel, jobs: int = 16) -> list[Report]:
    reports = [each for batch in Supervisor(cases, kernel, jobs=jobs).run() for each in batch]
    assert len(reports) == len(cases)
    assert [report.error for report in reports if report.error] == []
    return reports


def kvmabi(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kvmabi", *arguments]
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=env, cwd=TOP
    )


@pytest.mark.slow
def test_this_kernel_keeps_every_promise(tmp_path: Path, kernel: Kernel) -> None:
    path = tmp_path / "matrix.jsonl"
    done = kvmabi("matrix", "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    run, *cases, end = [json.loads(line) for line in path.read_text().splitlines()]
    assert run["planned"] == len(cases) == end["executed"] >= 10_000
    assert {case["verdict"] for case in cases} == {"pass"}
    assert run["host"]["kernel_release"] == os.uname().release
    assert from_record(run["abi"]) == kernel
    tried = {number for case in cases for number in case["promises"]}
    only_if_broken_or_patched = {promises.PV_MMIO, promises.RETURN}
    assert tried >= set(promises.PROMISES) - only_if_broken_or_patched


# Negative controls: the contract with one rule flipped

Flip = Callable[[pytest.MonkeyPatch], None]


def _compare_low_bytes(patch: pytest.MonkeyPatch) -> None:
    real = VmContract._assign

    def assign(self: VmContract, request: contract.Request) -> Answer:
        return real(self, request._replace(datamatch=request.datamatch & 0xFFFF_FFFF))

    patch.setattr(VmContract, "_assign", assign)


def _ignore_width(patch: pytest.MonkeyPatch) -> None:
    def matching_shapes(_width: int, value: int) -> list[contract.Shape]:
        return [(length, data) for length in (0, 1, 2, 4, 8) for data in (None, value)]

    patch.setattr(contract, "matching_shapes", matching_shapes)


def _let_reads_match(patch: pytest.MonkeyPatch) -> None:
    def read(self: VmContract, bus: Bus, address: int, width: int) -> Reaction:
        return self.write(bus, address, width, 0)._replace(promise=promises.READ)

    patch.setattr(VmContract, "read", read)


def _let_datamatch_join_a_wildcard(patch: pytest.MonkeyPatch) -> None:
    real = contract.clash

    def clash(one: contract.Shape, other: contract.Shape) -> bool:
        return real(one, other) and (one[1] is None) == (other[1] is None)

    patch.setattr(contract, "clash", clash)


def _let_any_length_stand_alone(patch: pytest.MonkeyPatch) -> None:
    real = contract.clash

    def clash(one: contract.Shape, other: contract.Shape) -> bool:
        return real(one, other) and (one[0] == 0) == (other[0] == 0)

    patch.setattr(contract, "clash", clash)


def _deassign_by_address_alone(patch: pytest.MonkeyPatch) -> None:
    def deassign(self: VmContract, request: contract.Request) -> Answer:
        spot = (Bus.of_flags(request.flags), request.addr)
        found = self.registered.pop(spot, None)
        return Answer(0 if found else errno.ENOENT, promises.DEASSIGN)

    patch.setattr(VmContract, "_deassign", deassign)


def _let_ranges_reach_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contract, "ADDRESS_SPACE", (1 << 64) + 1)


def _take_one_flag_more(patch: pytest.MonkeyPatch) -> None:
    real = VmContract._refusal

    def refusal(self: VmContract, request: contract.Request) -> int | None:
        return real(self, request._replace(flags=request.flags & ~(1 << 31)))

    patch.setattr(VmContract, "_refusal", refusal)


def _take_odd_lengths(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contract, "LENGTHS", frozenset({0, 1, 2, 3, 4, 8}))


def _judge_the_fd_first(patch: pytest.MonkeyPatch) -> None:
    real = VmContract._assign

    def assign(self: VmContract, request: contract.Request) -> Answer:
        if isinstance(request.eventfd, int):
            return Answer(request.eventfd, promises.ARGUMENTS)
        return real(self, request)

    patch.setattr(VmContract, "_assign", assign)


def _let_mmio_win(patch: pytest.MonkeyPatch) -> None:
    def of_flags(flags: int) -> Bus:
        ccw = flags & contract.KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY
        pio = flags & contract.KVM_IOEVENTFD_FLAG_PIO
        return Bus.VIRTIO_CCW if ccw else Bus.PIO if pio else Bus.MMIO

    patch.setattr(Bus, "of_flags", staticmethod(of_flags))


def _wrap_at_the_maximum(patch: pytest.MonkeyPatch) -> None:
    def signal(self: contract.Eventfd) -> None:
        self.count = (self.count + 1) % (1 << 64)

    patch.setattr(contract.Eventfd, "signal", signal)


def _split_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contract, "is_split", lambda _bus, _address, _width: False)


def _forget_nothing_at_close(patch: pytest.MonkeyPatch) -> None:
    from kvmabi.ioeventfd.oracle import Oracle

    patch.setattr(Oracle, "replace_vm", lambda _self, _step: None)


def _drop_at_close_of_the_fd(patch: pytest.MonkeyPatch) -> None:
    from kvmabi.ioeventfd.oracle import Oracle
    from kvmabi.ioeventfd.steps import CloseFd

    real = Oracle.close_fd

    def close_fd(self: Oracle, step: CloseFd) -> None:
        gone = self.fds[step.name]
        real(self, step)
        for vm in self.vms.values():
            for spot, several in vm.registered.items():
                left = {shape: each for shape, each in several.items() if each.eventfd is not gone}
                vm.registered[spot] = left

    patch.setattr(Oracle, "close_fd", close_fd)


FLIPS: dict[str, tuple[Flip, list[str], set[int]]] = {
    "datamatch-low-bytes": (_compare_low_bytes, ["*-above*-w4-at0-write"], {promises.SIGNAL}),
    "width-ignored": (_ignore_width, ["match-*-len4-any-*-at0-write"], {promises.SIGNAL}),
    "reads-match": (_let_reads_match, ["match-*-len4-any-w4-at0-read"], {promises.READ}),
    "wildcard-and-datamatch": (
        _let_datamatch_join_a_wildcard,
        ["phase-clash-wildcard-*-at0", "phase-clash-datamatch-*-at0"],
        {promises.SHARING},
    ),
    "any-length-clash": (_let_any_length_stand_alone, ["phase-clash-len0-*"], {promises.SHARING}),
    "deassign-fields": (
        _deassign_by_address_alone,
        ["phase-deassign-wrong-fd-*-w4-at0", "phase-deassign-wrong-datamatch-*-w4-at0"],
        {promises.DEASSIGN},
    ),
    "address-space-end": (_let_ranges_reach_the_end, ["address-*"], {promises.ARGUMENTS}),
    "flag-mask": (_take_one_flag_more, ["flags-0x80000000-*"], {promises.ARGUMENTS}),
    "odd-length": (_take_odd_lengths, ["length-*-len3-any-nonblocking"], {promises.ARGUMENTS}),
    "fd-before-arguments": (
        _judge_the_fd_first,
        ["length-*-len3-any-closed"],
        {promises.ARGUMENTS},
    ),
    "pio-wins": (_let_mmio_win, ["flags-0x0000000a-len4"], {promises.MATCH}),
    "saturation": (_wrap_at_the_maximum, ["eventfd-full-max1-*-len4-*"], {promises.SIGNAL}),
    "fragments": (
        _split_nothing,
        ["straddle-w4-first2-whole"],
        {promises.SIGNAL, promises.ELEMENTS},
    ),
    "vm-close": (
        _forget_nothing_at_close,
        ["teardown-assigned-*-len4"],
        {promises.LIFETIME},
    ),
    "fd-close": (_drop_at_close_of_the_fd, ["phase-closed-*-len4-any-w4-at0"], {promises.LIFETIME}),
}


@pytest.mark.parametrize("name", FLIPS)
def test_a_flipped_rule_is_contradicted(
    name: str, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip, patterns, expected = FLIPS[name]
    cases = select(patterns)
    sound = play(cases, kernel)
    assert [report for report in sound if report.disagreements] == []
    flip(monkeypatch)
    broken = [report for report in play(cases, kernel) if report.disagreements]
    assert broken
    found = {each.promise for report in broken for each in report.disagreements}
    assert found & expected, found
    assert {(report.tries, report.seen_in) for report in broken} == {(3, 3)}


def test_fail_fast_ends_at_the_first_broken_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kvmabi.cli import main

    path = tmp_path / "matrix.jsonl"
    options = ["--fail-fast", "--first", "match-*-read", "--jobs", "1", "--json", str(path)]
    _let_reads_match(monkeypatch)
    assert main(["matrix", *options]) == 1
    cases = [json.loads(line) for line in path.read_text().splitlines()]
    end = cases.pop()
    assert cases.pop(0)["planned"] == end["planned"] > end["executed"] == len(cases)
    assert end["interrupted"]
    assert end["problems"] == []
    assert all(case["id"].startswith("match-") for case in cases)
    assert [case["verdict"] for case in cases][-1] == "fail"
    assert f"{end['executed']:,} of {end['planned']:,} cases" in capsys.readouterr().out


def test_fail_fast_plays_all_cases_of_a_kernel_that_keeps_its_promises(tmp_path: Path) -> None:
    path = tmp_path / "matrix.jsonl"
    done = kvmabi("matrix", "--fail-fast", "--filter", "straddle-", "--json", str(path))
    assert done.returncode == 0
    end = json.loads(path.read_text().splitlines()[-1])
    assert end["planned"] == end["executed"]
    assert not end["interrupted"]


# What a user sees


def test_repro_shows_what_happens() -> None:
    done = kvmabi("matrix", "--repro", "match-mmio-len4-equal-w4-up4-write")
    assert done.returncode == 0, done.stderr
    assert "assign vm0 addr BAR0+0x800 len 4 flags DATAMATCH" in done.stdout
    assert "exit: KVM_EXIT_MMIO write of 4 at 0xe0000804 = 0x55667718" in done.stdout
    assert done.stdout.rstrip().endswith("all as promised")


def test_repro_of_a_broken_promise_says_which(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kvmabi.ioeventfd.repro import repro
    from kvmabi.ioeventfd.select import find

    _let_reads_match(monkeypatch)
    lines: list[str] = []
    with System.open() as system:
        agreed = repro(find("phase-before-pio-len4-any-w4-at0"), system, kernel, lines.append)
    text = "\n".join(lines)
    assert not agreed
    assert f"promise {promises.READ}: {promises.PROMISES[promises.READ]}" in text
    assert "again, one access at a time" in text
    assert "BROKEN at: read 4 bytes at pio BAR1+0x80" in text


def test_list_names_every_case_and_marks_hazards() -> None:
    done = kvmabi("matrix", "--list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == len(select([])) + 4
    assert sum("\thazardous: " in line for line in lines) == 4


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--filter", "nothing-like-it"], "no case fits"),
        (["--repro", "match-mmio-len4-equal-w4-up4-wrote"], "near it: match-mmio-len4"),
        (["--jobs", "0"], "must be 1 or more"),
        (["--resume", "a", "--json", "b"], "leave --json out"),
        (["--jobs", "x"], "'x': must be 1 or more"),
        (["--jobs", "-3"], "must be 1 or more"),
        (["--filter", ""], "--filter: must not be empty"),
        (["--repro", ""], "--repro: must not be empty"),
        (["--resume", ""], "--resume: must not be empty"),
        (["--json", ""], "--json: must not be empty"),
        (["--repro", "a", "--json", "b"], "--repro has no use for --json"),
        (["--repro", "a", "--filter", "b"], "--repro has no use for --filter"),
        (["--repro", "a", "--jobs", "1"], "--repro has no use for --jobs"),
        (["--repro", "a", "--resume", "b"], "--repro has no use for --resume"),
        (["--list", "--json", "b"], "--list has no use for --json"),
        (["--list", "--fail-fast"], "--list has no use for --fail-fast"),
        (["--first", "pio"], "it needs that option"),
        (["--fail-fast", "--first", "nothing-like-it"], "no case fits --first"),
        (["--resume", "/nonexistent"], "cannot read"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], text: str) -> None:
    done = kvmabi("matrix", *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--filter", "nothing-like-it"], ["--jobs", "100000000"]])
def test_a_run_that_cannot_start_leaves_the_old_result(
    tmp_path: Path, arguments: list[str]
) -> None:
    path = tmp_path / "matrix.jsonl"
    assert kvmabi("matrix", "--json", str(path), "--filter", "straddle-").returncode == 0
    before = path.read_bytes()
    assert kvmabi("matrix", "--json", str(path), *arguments).returncode == 2
    assert path.read_bytes() == before


def test_a_file_that_is_no_result_is_not_overwritten(tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("dear all\n")
    done = kvmabi("matrix", "--json", str(letter), "--filter", "straddle-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not overwritten" in done.stderr
    assert done.stderr.count("\n") == 1
    assert letter.read_text() == "dear all\n"


def interrupted_after(seconds: float) -> tuple[int, str]:
    command = [sys.executable, "-m", "kvmabi", "matrix", "--filter", "match-*"]
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    ) as process:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


@pytest.mark.slow
@pytest.mark.parametrize("tenths", range(1, 12))
def test_ctrl_c_is_one_line_whenever_it_comes(tenths: int) -> None:
    """From the imports to the workers' end; the first instants are the interpreter's own."""
    exit_code, stderr = interrupted_after(tenths / 10)
    assert exit_code in (130, 0), stderr  # 0: it was through
    assert stderr.replace("kvmabi matrix", "kvmabi") == (
        "kvmabi: interrupted\n" if exit_code else ""
    )
