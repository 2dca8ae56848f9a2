from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.compare import Disagreement
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.known import Setting, at_any_length, known
from kvmabi.ioeventfd.select import find
from kvmabi.ioeventfd.steps import Case, GuestRun, Ioeventfd

VMX = Setting((6, 1), "kvm_intel", ept=True)
KERNEL = Kernel(0x1F, "test")
PATCHED = Kernel(0x3F, "test", pv_mmio=0x20)
READS = find("match-mmio-len0-any-w4-at0-read")
HANDOVER = find("handover-w2-first1-both-anylength")
READ = "read 4 bytes at mmio BAR0+0x800"
EXIT = "KVM_EXIT_MMIO read of 4 at 0xe0000800"
SIGNALLED = Disagreement(READ, promises.READ, "eventfd e holds 0x0", "it holds 0x1")
NO_EXIT = Disagreement(READ, promises.READ, EXIT, "no exit")
LOST = Disagreement(
    "vm0 vcpu0 by two threads in turn: write 2 bytes 0x7718 at mmio BAR0+0xfff",
    promises.ELEMENTS,
    "eventfd f holds 0x1",
    "it holds 0x0",
)


def test_a_read_that_signals_is_known_on_vmx_with_ept() -> None:
    assert "read" in known(READS, [NO_EXIT, SIGNALLED], VMX, KERNEL)


def test_a_fragment_that_is_lost_is_known_on_vmx_with_ept() -> None:
    assert "straddles a page" in known(HANDOVER, [LOST], VMX, KERNEL)


@pytest.mark.parametrize(("case", "found"), [(READS, NO_EXIT), (HANDOVER, LOST)])
@pytest.mark.parametrize(
    "setting",
    [
        replace(VMX, ept=False),
        replace(VMX, back_end="kvm_amd"),
        replace(VMX, release=(6, 0)),
        replace(VMX, release=(6, 13)),
        Setting.of("unknown", "kvm_intel", ept=True),
    ],
)
def test_elsewhere_it_is_news(case: Case, found: Disagreement, setting: Setting) -> None:
    assert known(case, [found], setting, KERNEL) == ""
    assert known(case, [found], VMX, KERNEL)  # the control


@pytest.mark.parametrize("release", ["6.1.0-56-cloud-amd64", "6.12.95+deb13-cloud-amd64", "6.6"])
def test_the_release_is_the_kernels_own_word(release: str) -> None:
    assert known(READS, [NO_EXIT], Setting.of(release, "kvm_intel", ept=True), KERNEL)


def test_a_case_in_which_nothing_disagrees_is_not_known_but_passed() -> None:
    assert known(READS, [], VMX, KERNEL) == ""


@pytest.mark.parametrize(
    "other",
    [
        replace(NO_EXIT, promise=promises.SIGNAL),
        replace(NO_EXIT, seen="KVM_EXIT_MMIO read of 2 at 0xe0000800"),
        replace(NO_EXIT, seen=f"{EXIT}; {EXIT}"),
        replace(NO_EXIT, step="read 4 bytes at mmio BAR0+0x80"),
        replace(NO_EXIT, step="read 4 bytes at mmio BAR0+0x8000"),
        replace(SIGNALLED, seen="it holds 0x2"),
        replace(SIGNALLED, expected="eventfd e holds 0x1", seen="it holds 0x0"),
        replace(SIGNALLED, seen="it holds 0x0"),
        Disagreement(READ, promises.RETURN, "the guest goes on to its end", "it crashed"),
    ],
)
def test_another_disagreement_of_such_a_case_fails_it(other: Disagreement) -> None:
    assert known(READS, [other], VMX, KERNEL) == ""
    assert known(READS, [NO_EXIT, other], VMX, KERNEL) == ""


@pytest.mark.parametrize(
    "other",
    [
        replace(LOST, seen="it holds 0x2"),
        replace(LOST, promise=promises.MATCH),
        replace(LOST, step=LOST.step.replace("write 2", "write 4")),
    ],
)
def test_another_end_of_a_fragment_fails_its_case(other: Disagreement) -> None:
    assert known(HANDOVER, [other], VMX, KERNEL) == ""


def test_exits_that_stop_in_the_middle_are_the_rest_that_is_lost() -> None:
    strings = find("match-mmio-len0-any-w4-down4-writestring")
    (step,) = {text for text in map(_text, at_any_length(strings, KERNEL)) if "string" in text}
    first, second = "KVM_EXIT_MMIO write of 4 at 0x1 = 0x1", "KVM_EXIT_MMIO write of 4 at 0x5 = 0x2"
    cut = Disagreement(step, promises.ELEMENTS, f"{first}; {second}", first)
    assert known(strings, [cut], VMX, KERNEL)
    assert known(strings, [replace(cut, seen=second)], VMX, KERNEL) == ""


def _text(access) -> str:
    from kvmabi.ioeventfd.describe import access_text

    return access_text(access)


@pytest.mark.parametrize(
    "case_id",
    [
        "match-mmio-len4-any-w4-at0-read",  # a length
        "match-pio-len0-any-w4-at0-read",  # another bus
        "match-mmio-len0-any-w4-up4-read",  # another address
        "handover-w2-first1-first-wildcard",
        "phase-clash-len0-mmio-len4-any-w4-at0",  # any length was refused
    ],
)
def test_accesses_off_the_fast_bus_are_none_of_it(case_id: str) -> None:
    assert list(at_any_length(find(case_id), KERNEL)) == []


def test_accesses_on_the_fast_bus_are_found() -> None:
    assert list(at_any_length(READS, KERNEL))
    assert list(at_any_length(HANDOVER, KERNEL))
    assert list(at_any_length(find("straddle-w8-first6-second-anylength"), KERNEL))


def test_the_matrix_records_it_as_known_with_the_reason_and_all_that_was_seen() -> None:
    from kvmabi.ioeventfd.worker import Report
    from kvmabi.matrix import _record
    from kvmabi.results import Verdict

    report = Report(7, 0.5, (promises.READ,), (NO_EXIT, SIGNALLED), tries=3, seen_in=2)
    on_vmx = partial(known, setting=VMX, kernel=KERNEL)
    record = _record(READS, report, on_vmx)
    assert record.verdict is Verdict.KNOWN
    assert record.reason == known(READS, [NO_EXIT], VMX, KERNEL)
    assert len(record.disagreements) == 2
    elsewhere = _record(READS, report, lambda _case, _found: "")
    assert (elsewhere.verdict, elsewhere.reason) == (Verdict.FAIL, "seen in 2 of 3 tries")
    lost = _record(READS, replace(report, error="the worker was lost"), on_vmx)
    assert lost.verdict is Verdict.ERROR


@pytest.mark.parametrize(("text", "ept"), [("Y\n", True), ("N\n", False), (None, False)])
def test_ept_is_the_modules_own_word(tmp_path, text: str | None, ept: bool) -> None:
    from kvmabi.kvm.host import ept_in_use

    folder = tmp_path / "sys/module/kvm_intel/parameters"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "ept").write_text(text)
    assert ept_in_use(tmp_path) is ept


def test_pv_mmio_is_on_the_fast_bus_where_the_kernel_has_it() -> None:
    case = find("pv-mmio-len4-at0")
    assert list(at_any_length(case, PATCHED))
    assert list(at_any_length(case, KERNEL)) == []


def test_what_was_deassigned_is_off_the_fast_bus() -> None:
    case = find("phase-deassigned-mmio-len0-any-w4-at0")
    before = list(at_any_length(case, KERNEL))
    without = replace(case, steps=tuple(step for step in case.steps if not _is_assign(step)))
    assert list(at_any_length(without, KERNEL)) == []
    runs = [step for step in case.steps if isinstance(step, GuestRun)]
    assert len(before) < sum(len(run.accesses) for run in runs)


def _is_assign(step: object) -> bool:
    return isinstance(step, Ioeventfd) and not step.is_deassign
