"""Kernels that have PV_MMIO, and get it wrong.

Reads, strings and other widths at its address are no faults: there, the guest breaks its own word.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL
from typing import Final

from kvmabi.ioeventfd import promises
from kvmabi.vmm import Access, Outcome
from tests.unit.ioeventfd.fake_kvm import (
    DATAMATCH,
    PAGE,
    Arg,
    Device,
    FakeKvm,
    Run,
    Vm,
)
from tests.unit.ioeventfd.faults.base import (
    WITH_PV_MMIO,
    Fault,
    changed,
    forgetting,
    narrower,
    wider,
)

PV: Final = WITH_PV_MMIO.pv_mmio
FAMILIES: Final = ("pv-mmio", "flags", "flags-deassign")


def is_pv(device: Device) -> bool:
    return bool(device.flags & PV)


def page(device: Device) -> int:
    return device.address // PAGE


def neighbours(device: Device, run: Run) -> list[Device]:
    """Return the other PV devices of its page."""
    others = [each for each in run.vm.ioeventfds if is_pv(each) and each is not device]
    return [each for each in others if page(each) == page(device)]


def refusing(when: Callable[[Arg], object]) -> type[FakeKvm]:
    """Return a kernel that also refuses PV_MMIO where `when` says so."""
    return wider("is_bad_pv_mmio", lambda arg: arg.flags & PV and when(arg))


class WholePage(FakeKvm):
    def candidates(self, vm: Vm, bus: str, address: int) -> list[Device]:
        own = list(super().candidates(vm, bus, address))
        others = [each for each in vm.buses[bus] if is_pv(each) and each not in own]
        return own + [each for each in others if page(each) == address // PAGE]


class Instructions(FakeKvm):
    """What a taken store does depends on the length of its instruction."""

    lengths: frozenset[int]

    def instruction(self, run: Run, access: Access) -> Outcome:
        at = self.candidates(run.vm, access.bus, access.address)
        outcome = super().instruction(run, access)
        if access.write and access.insn in self.lengths and any(map(is_pv, at)):
            return outcome._replace(landing=outcome.landing - 1)
        return outcome


class OddInstructions(Instructions):
    lengths = frozenset(range(3, 16, 2))


class LongInstructions(Instructions):
    lengths = frozenset(range(8, 16))


_ROWS: Final[tuple[tuple[str, int, type[FakeKvm]], ...]] = (
    (
        "PV_MMIO with PIO accepted",
        promises.PV_MMIO,
        narrower("is_bad_pv_mmio", lambda arg: arg.flags & 2),
    ),
    (
        "PV_MMIO with DATAMATCH accepted",
        promises.PV_MMIO,
        narrower("is_bad_pv_mmio", lambda arg: arg.flags & DATAMATCH),
    ),
    (
        "PV_MMIO with PIO and DATAMATCH accepted",
        promises.PV_MMIO,
        narrower("is_bad_pv_mmio", lambda arg: arg.flags & 2 and arg.flags & DATAMATCH),
    ),
    (
        "PV_MMIO with PIO cut off",
        promises.PV_MMIO,
        changed(is_bad_pv_mmio=lambda _, arg: bool(arg.flags & PV and arg.flags & DATAMATCH)),
    ),
    ("PV_MMIO refused", promises.PV_MMIO, refusing(lambda _: True)),
    ("PV_MMIO refused for any length", promises.PV_MMIO, refusing(lambda arg: not arg.len)),
    ("PV_MMIO refused with virtio_ccw", promises.PV_MMIO, refusing(lambda arg: arg.flags & 8)),
    (
        "PV_MMIO refused unaligned",
        promises.PV_MMIO,
        refusing(lambda arg: arg.len and arg.addr % arg.len),
    ),
    ("PV_MMIO signals nothing", promises.PV_MMIO, forgetting(lambda device, _: is_pv(device))),
    ("PV_MMIO takes its page", promises.PV_MMIO, WholePage),
    (
        "PV_MMIO clashes with PV_MMIO alone",
        promises.CLASH,
        narrower("collides", lambda old, new: is_pv(old) != is_pv(new)),
    ),
    (
        "PV_MMIO clashes with nothing",
        promises.CLASH,
        narrower("collides", lambda old, new: is_pv(old) or is_pv(new)),
    ),
    (
        "PV_MMIO needs its flag at deassign",
        promises.DEASSIGN,
        narrower("is_named", lambda device, wanted: is_pv(device) != is_pv(wanted)),
    ),
    (
        "PV_MMIO refuses its flag at deassign",
        promises.DEASSIGN,
        changed(
            deassign=lambda self, vm, arg: (
                EINVAL if arg.flags & PV else FakeKvm.deassign(self, vm, arg)
            )
        ),
    ),
    (
        "two PV_MMIO in one page are lost",
        promises.PV_MMIO,
        forgetting(lambda device, run: is_pv(device) and neighbours(device, run)),
    ),
    (
        "the second PV_MMIO in a page is lost",
        promises.PV_MMIO,
        forgetting(
            lambda device, run: (
                is_pv(device)
                and any(each.number < device.number for each in neighbours(device, run))
            )
        ),
    ),
    ("PV_MMIO goes astray behind odd instructions", promises.RETURN, OddInstructions),
    ("PV_MMIO goes astray behind long instructions", promises.RETURN, LongInstructions),
    (
        "PV_MMIO is lost on vCPU 1",
        promises.CONCURRENCY,
        forgetting(lambda device, run: is_pv(device) and run.vcpu),
    ),
)

FAULTS: Final = tuple(
    Fault(name, promise, kvm, FAMILIES, WITH_PV_MMIO) for name, promise, kvm in _ROWS
)
