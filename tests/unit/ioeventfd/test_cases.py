"""The matrix as data: what it must hold, and that ids are stable and say what they name."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from kvmabi import uapi
from kvmabi.guest import encodings
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.cases import FAMILIES, all_cases
from kvmabi.ioeventfd.cases.matching import INSTRUCTION_LENGTHS
from kvmabi.ioeventfd.contract import Bus, Kernel
from kvmabi.ioeventfd.oracle import Expected, Oracle
from kvmabi.ioeventfd.rig import FDS_EACH
from kvmabi.ioeventfd.steps import (
    Access,
    Case,
    CloseFd,
    CoalescedZones,
    DupFd,
    FdKind,
    FillFd,
    GuestRun,
    Ioeventfd,
    Layout,
    OpenFd,
    ReplaceVm,
    Step,
    Together,
)

LAYOUT = Layout(bar0=0xE000_0000, bar1=0xC000)
KERNELS = {
    "today's": Kernel(0x1F, "test"),
    "one with PV_MMIO": Kernel(0x3F, "test", pv_mmio=1 << 5),
    "an old one": Kernel(0x07, "test", any_length=False, no_length=False),
}
CASES = list(all_cases())
HARMLESS = [case for case in CASES if not case.hazardous]


def guest_runs(case: Case) -> list[GuestRun]:
    runs = [step for step in case.steps if isinstance(step, GuestRun)]
    return runs + [run for step in case.steps if isinstance(step, Together) for run in step.runs]


def accesses() -> list[Access]:
    return [access for case in CASES for run in guest_runs(case) for access in run.accesses]


def requests() -> list[Ioeventfd]:
    return [step for case in CASES for step in case.steps if isinstance(step, Ioeventfd)]


def predict(step: Step, oracle: Oracle) -> list[Expected]:
    """Have the oracle go through a step; it raises where the contract contradicts itself."""
    match step:
        case OpenFd():
            oracle.open_fd(step)
        case DupFd():
            oracle.dup_fd(step)
        case CloseFd():
            oracle.close_fd(step)
        case FillFd():
            oracle.fill_fd(step)
        case Ioeventfd():
            oracle.ioeventfd(step)
        case GuestRun():
            return [oracle.guest_run(step)]
        case Together():
            return oracle.together(step)
        case ReplaceVm():
            oracle.replace_vm(step)
        case CoalescedZones():
            pass
    return []


def test_there_are_at_least_ten_thousand() -> None:
    assert len(HARMLESS) >= 10_000


def test_ids_are_unique_and_survive_slugs() -> None:
    counts = Counter(case.id for case in CASES)
    assert [each for each, count in counts.items() if count > 1] == []
    assert [case.id for case in CASES if not re.fullmatch(r"[A-Za-z0-9_-]+", case.id)] == []


def test_no_two_cases_do_the_same() -> None:
    """A case is known by its parameters: what differs in the id differs in the steps."""
    by_steps = Counter(case.steps for case in HARMLESS)
    twins = {steps for steps, count in by_steps.items() if count > 1}
    names = sorted(case.id for case in HARMLESS if case.steps in twins)
    assert names == [], f"{len(names)} cases repeat another's steps"


def test_the_order_is_the_same_each_time() -> None:
    assert [case.id for case in all_cases.__wrapped__()] == [case.id for case in CASES]


def test_every_family_is_in_it() -> None:
    for family in FAMILIES:
        assert any(True for _ in family.cases()), family.__name__


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_the_contract_speaks_about_every_case(kernel: Kernel) -> None:
    for case in CASES:
        oracle = Oracle(kernel, LAYOUT)
        for step in case.steps:
            predict(step, oracle)


def test_a_case_fits_its_rig() -> None:
    for case in CASES:
        opened = sum(isinstance(step, OpenFd | DupFd) for step in case.steps)
        assert opened <= FDS_EACH, case.id
        assert case.vms <= 2, case.id
        assert case.vcpus <= 2, case.id


def test_every_length_bus_and_width_is_tried() -> None:
    assert {request.len for request in requests()} >= {
        0,
        1,
        2,
        4,
        8,
        3,
        5,
        16,
        1 << 31,
        (1 << 32) - 1,
    }
    assert {request.bus for request in requests()} == set(Bus)
    assert {(each.bus, each.width) for each in accesses()} >= {
        *((Bus.MMIO, width) for width in (1, 2, 4, 8)),
        *((Bus.PIO, width) for width in (1, 2, 4)),
    }
    for bus in (Bus.MMIO, Bus.PIO):
        forms = {(each.write, each.string) for each in accesses() if each.bus is bus}
        assert forms == {(False, False), (False, True), (True, False), (True, True)}


def test_every_instruction_length_that_the_guest_can_make_is_tried() -> None:
    for (bus, width), sizes in INSTRUCTION_LENGTHS.items():
        assert list(sizes) == list(encodings.lengths(bus.value, width)), (bus, width)


def test_every_combination_of_flag_bits_is_tried() -> None:
    tried = {request.flags for request in requests()}
    low = [
        uapi.KVM_IOEVENTFD_FLAG_DATAMATCH,
        uapi.KVM_IOEVENTFD_FLAG_PIO,
        uapi.KVM_IOEVENTFD_FLAG_DEASSIGN,
        uapi.KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY,
        1 << 4,
        uapi.KVM_IOEVENTFD_FLAG_PV_MMIO,
    ]
    combinations = {
        sum(bit for index, bit in enumerate(low) if chosen >> index & 1) for chosen in range(64)
    }
    assert combinations <= tried
    assert {1 << bit for bit in range(32)} <= tried


def test_every_kind_of_descriptor_is_tried() -> None:
    kinds = {step.kind for case in CASES for step in case.steps if isinstance(step, OpenFd)}
    assert kinds == set(FdKind)


def test_up_to_1200_registrations_share_a_bus() -> None:
    most = {
        bus: max(case.ioctls for case in CASES if case.family == "many" and case.bus == bus)
        for bus in ("mmio", "pio")
    }
    assert most == {"mmio": 1203, "pio": 1203}


def test_positive_and_negative_controls_stand_side_by_side() -> None:
    """What must not happen matters as much as what must: neither kind of write may be rare."""
    outcomes: Counter[bool] = Counter()
    for case in HARMLESS:
        oracle = Oracle(KERNELS["today's"], LAYOUT)
        for step in case.steps:
            for expected in predict(step, oracle):
                for reaction in expected.reactions:
                    assert reaction is not None
                    if reaction.promise != promises.READ:
                        outcomes[bool(reaction.signals)] += 1
    assert min(outcomes.values()) > 5000, outcomes


def test_only_hazardous_cases_store_more_than_8_bytes() -> None:
    wide = {
        case.id
        for case in CASES
        for run in guest_runs(case)
        if any(a.width > 8 for a in run.accesses)
    }
    assert wide == {case.id for case in CASES if case.hazardous}
    assert wide
