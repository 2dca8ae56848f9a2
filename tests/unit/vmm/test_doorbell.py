"""How doorbells are asked of KVM, and what is tried next where it refuses."""

from __future__ import annotations

import errno

import pytest

from kvmabi import uapi
from kvmabi.errors import IoctlError
from kvmabi.vmm.doorbell import Doorbell, KvmRegistrar

PIO = uapi.KVM_IOEVENTFD_FLAG_PIO
DATAMATCH = uapi.KVM_IOEVENTFD_FLAG_DATAMATCH
DEASSIGN = uapi.KVM_IOEVENTFD_FLAG_DEASSIGN
PV = uapi.KVM_IOEVENTFD_FLAG_PV_MMIO


class Vm:
    """Stands for a VM whose kernel answers by flags and length."""

    def __init__(self, refused: dict[tuple[int, int], int] | None = None) -> None:
        self.refused = refused or {}
        self.asked: list[tuple[int, int, int, int, int]] = []

    def try_ioeventfd(self, arg: uapi.kvm_ioeventfd) -> int:
        self.asked.append((arg.addr, arg.len, arg.flags, arg.datamatch, arg.fd))
        return self.refused.get((arg.flags, arg.len), 0)

    def ioeventfd(self, arg: uapi.kvm_ioeventfd) -> None:
        error = self.try_ioeventfd(arg)
        if error:
            raise IoctlError(error, "KVM_IOEVENTFD", "VM")


@pytest.mark.parametrize(
    ("bus", "datamatch", "flags"),
    [("mmio", None, 0), ("pio", None, PIO), ("mmio", 0, DATAMATCH), ("pio", 250, PIO | DATAMATCH)],
)
def test_a_plain_doorbell(bus: str, datamatch: int | None, flags: int) -> None:
    vm = Vm()
    made = KvmRegistrar(vm).assign(bus, 0x1000, Doorbell(8, 2, 5, datamatch))
    assert vm.asked == [(0x1000, 2, flags, datamatch or 0, 5)]
    assert (made.how, made.error) == ("plain", 0)
    KvmRegistrar(vm).deassign(made)
    assert vm.asked[1:] == [(0x1000, 2, flags | DEASSIGN, datamatch or 0, 5)]


@pytest.mark.parametrize(
    ("refused", "how", "tries", "error"),
    [
        ({}, "pv-mmio", [(1, PV)], 0),
        ({(PV, 1): errno.EINVAL}, "any-length", [(1, PV), (0, 0)], 0),
        (
            {(PV, 1): errno.EINVAL, (0, 0): errno.EINVAL},
            "plain",
            [(1, PV), (0, 0), (1, 0)],
            0,
        ),
        ({(PV, 1): errno.EEXIST}, "pv-mmio", [(1, PV)], errno.EEXIST),
        (
            {(PV, 1): errno.EINVAL, (0, 0): errno.EEXIST},
            "any-length",
            [(1, PV), (0, 0)],
            errno.EEXIST,
        ),
    ],
)
def test_a_pv_doorbell_falls_back_and_says_so(refused, how, tries, error) -> None:
    vm = Vm(refused)
    made = KvmRegistrar(vm).assign("mmio", 0x1000, Doorbell(0, 1, 5, pv=True))
    assert (made.how, made.error) == (how, error)
    assert [(length, flags) for _, length, flags, _, _ in vm.asked] == tries
    KvmRegistrar(vm).deassign(made)
    deassigned = [] if error else [(tries[-1][0], tries[-1][1] | DEASSIGN)]
    assert [(one[1], one[2]) for one in vm.asked[len(tries) :]] == deassigned


def test_a_registration_that_the_kernel_lost_is_no_silence() -> None:
    vm = Vm({(DEASSIGN, 1): errno.ENOENT})
    registrar = KvmRegistrar(vm)
    made = registrar.assign("mmio", 0x1000, Doorbell(0, 1, 5))
    with pytest.raises(IoctlError, match="ENOENT"):
        registrar.deassign(made)
