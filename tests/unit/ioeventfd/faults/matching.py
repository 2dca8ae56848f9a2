"""Kernels that take the wrong write, or the right one for the wrong registration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kvmabi.ioeventfd import promises
from tests.unit.ioeventfd.fake_kvm import CCW, MMIO, PAGE, PIO, U64, Device, FakeKvm, Run, Vm
from tests.unit.ioeventfd.faults.base import (
    Fault,
    changed,
    forgetting,
    narrower,
    number,
    seeking,
    siblings,
    wider,
)


def sign_extended(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True) & U64


def comparing(mask: int) -> type[FakeKvm]:
    """Return a kernel that compares only these bits of datamatch."""
    return changed(
        is_datamatch=lambda _, device, data: not (device.datamatch ^ number(data)) & mask
    )


def addressing(mask: int, bus: str = "") -> type[FakeKvm]:
    """Return a kernel that compares only these bits of addresses, on one bus or all."""

    class Broken(FakeKvm):
        def candidates(self, vm: Vm, on: str, address: int) -> list[Device]:
            if bus and on != bus:
                return list(super().candidates(vm, on, address))
            return [each for each in vm.buses[on] if not (each.address ^ address) & mask]

    return Broken


def shadowing(which: int) -> type[FakeKvm]:
    """Return a kernel that looks at one device of an address alone."""

    class Broken(FakeKvm):
        def candidates(self, vm: Vm, bus: str, address: int) -> list[Device]:
            return list(super().candidates(vm, bus, address))[which:][:1]

    return Broken


class BinarySearch(FakeKvm):
    def candidates(self, vm: Vm, bus: str, address: int) -> list[Device]:
        found = list(super().candidates(vm, bus, address))
        return found[len(found) // 2 :][:1]


class Ranges(FakeKvm):
    def candidates(self, vm: Vm, bus: str, address: int) -> list[Device]:
        return [
            each
            for each in vm.buses[bus]
            if each.address <= address < each.address + max(each.length, 1)
        ]


class Pages(FakeKvm):
    def candidates(self, vm: Vm, bus: str, address: int) -> list[Device]:
        page = [each for each in vm.buses[bus] if each.address // PAGE == address // PAGE]
        return [each for each in page if each.address == address or not each.length]


def lending(lender: str, borrower: str, when: Callable[[Device], object]) -> type[FakeKvm]:
    """Return a kernel where devices of one bus take another bus's writes."""

    class Broken(FakeKvm):
        def candidates(self, vm: Vm, bus: str, address: int) -> list[Device]:
            own = list(super().candidates(vm, bus, address))
            if bus != borrower:
                return own
            return own + [each for each in super().candidates(vm, lender, address) if when(each)]

    return Broken


class FirstMissed(FakeKvm):
    def add(self, vm: Vm, device: Device) -> int:
        device.signals = -1
        return super().add(vm, device)

    def find(self, run: Run, bus: str, address: int, data: bytes) -> list[Device]:
        found = super().find(run, bus, address, data)
        for each in found:
            if each.signals < 0:
                each.signals = 0
                return []
        return found


FAULTS: Final = (
    Fault(
        "any-length takes no 8 bytes",
        promises.MATCH,
        narrower("in_range", lambda device, data: not device.length and len(data) == 8),
    ),
    Fault(
        "any-length compares datamatch",
        promises.MATCH,
        narrower("in_range", lambda device, _data: not device.length and device.datamatch),
    ),
    Fault(
        "a longer registration takes a shorter write",
        promises.MATCH,
        wider("in_range", lambda device, data: device.length > len(data) and device.wildcard),
    ),
    Fault(
        "a shorter registration takes a longer write",
        promises.MATCH,
        wider("in_range", lambda device, data: 0 < device.length < len(data)),
    ),
    Fault("a write inside the range matches", promises.MATCH, Ranges, ("neighbours",)),
    Fault(
        "datamatch 0 is a wildcard",
        promises.DATAMATCH,
        wider("is_datamatch", lambda device, _data: device.datamatch == 0),
    ),
    Fault(
        "datamatch 0 never matches",
        promises.DATAMATCH,
        narrower("is_datamatch", lambda device, _data: device.datamatch == 0),
    ),
    Fault(
        "a wildcard compares its datamatch field",
        promises.MATCH,
        narrower(
            "in_range",
            lambda device, data: (
                device.wildcard and device.datamatch and device.datamatch != number(data)
            ),
        ),
    ),
    Fault(
        "datamatch within the width",
        promises.DATAMATCH,
        wider(
            "is_datamatch",
            lambda device, data: not (device.datamatch ^ number(data)) & (1 << 8 * len(data)) - 1,
        ),
    ),
    Fault(
        "datamatch against the sign-extended value",
        promises.DATAMATCH,
        changed(is_datamatch=lambda _, device, data: device.datamatch == sign_extended(data)),
    ),
    Fault("datamatch in its low 32 bits", promises.DATAMATCH, comparing(0xFFFF_FFFF)),
    Fault("datamatch in its high 32 bits", promises.DATAMATCH, comparing(U64 ^ 0xFFFF_FFFF)),
    *(
        Fault(
            f"datamatch without byte {byte}", promises.DATAMATCH, comparing(U64 ^ 0xFF << 8 * byte)
        )
        for byte in range(8)
    ),
    *(
        Fault(
            f"datamatch without bit {bit}", promises.DATAMATCH, comparing(U64 ^ 1 << bit), ("bit",)
        )
        for bit in range(64)
    ),
    Fault(
        "bit 4 with DATAMATCH is a wildcard",
        promises.DATAMATCH,
        wider("is_datamatch", lambda device, _data: device.flags & 1 << 4),
        ("flags",),
    ),
    Fault(
        "bit 4 is a bus of its own",
        promises.SIGNAL,
        forgetting(lambda device, _run: device.flags & 1 << 4),
        ("flags",),
    ),
    *(
        Fault(f"address without its low {bits} bits", promises.MATCH, addressing(-1 << bits))
        for bits in (1, 2, 3, 4)
    ),
    *(
        Fault(
            f"address in its low {bits} bits",
            promises.MATCH,
            addressing((1 << bits) - 1),
            ("twin",),
        )
        for bits in range(32, 64)
    ),
    Fault("port in its low 16 bits", promises.MATCH, addressing(0xFFFF, PIO), ("wide-port",)),
    Fault("any-length takes its page", promises.MATCH, Pages),
    Fault(
        "address 0 never matches",
        promises.MATCH,
        forgetting(lambda device, _run: device.address == 0),
        ("zero",),
    ),
    Fault("ports match memory", promises.MATCH, lending(PIO, MMIO, bool), ("buses",)),
    Fault("memory matches ports", promises.MATCH, lending(MMIO, PIO, bool), ("buses",)),
    Fault("virtio_ccw matches memory", promises.MATCH, lending(CCW, MMIO, bool), ("buses",)),
    Fault(
        "any-length virtio_ccw matches memory",
        promises.MATCH,
        lending(CCW, MMIO, lambda device: not device.length),
        ("buses", "flags"),
    ),
    Fault("the first at an address hides the others", promises.SHARING, shadowing(0)),
    Fault("the last at an address hides the others", promises.SHARING, shadowing(-1)),
    Fault("a search without a look at the neighbours", promises.SHARING, BinarySearch),
    Fault(
        "all at the address are signalled",
        promises.SHARING,
        seeking(lambda found, run: siblings(found[0], run) if found else []),
    ),
    Fault(
        "the first registration is signalled",
        promises.SHARING,
        seeking(lambda found, run: run.vm.ioeventfds[:1] if found else []),
    ),
    Fault(
        "the last registration is signalled",
        promises.SHARING,
        seeking(lambda found, run: run.vm.ioeventfds[-1:] if found else []),
    ),
    Fault(
        "datamatch loses beside a wildcard of another length",
        promises.SHARING,
        forgetting(
            lambda device, run: (
                not device.wildcard and any(each.wildcard for each in siblings(device, run))
            )
        ),
    ),
    Fault(
        "datamatch shares with its equal in 32 bits",
        promises.SHARING,
        seeking(
            lambda found, run: (
                [
                    next(
                        each
                        for each in siblings(found[0], run)
                        if each is found[0]
                        or (
                            not found[0].wildcard
                            and each.length == 8
                            and not (each.datamatch ^ found[0].datamatch) & 0xFFFF_FFFF
                        )
                    )
                ]
                if found
                else []
            )
        ),
    ),
    Fault(
        "an eventfd has one registration",
        promises.MATCH,
        forgetting(
            lambda device, run: (
                device
                is not next(each for each in run.vm.ioeventfds if each.eventfd is device.eventfd)
            )
        ),
    ),
    Fault("the first write after assign is missed", promises.SIGNAL, FirstMissed),
    *(
        Fault(
            f"registration {index} of many is forgotten",
            promises.MATCH,
            forgetting(lambda device, _run, index=index: device.number == index),
            ("many",),
        )
        for index in (1, 2, 5, 17, 50, 77, 99, 128, 200, 250, 299, 511, 700, 998, 1100, 1198)
    ),
    *(
        Fault(
            f"registrations from {index} on are forgotten",
            promises.MATCH,
            forgetting(lambda device, _run, index=index: device.number >= index),
            ("many",),
        )
        for index in (2, 3, 10, 63, 300, 999, 1199)
    ),
    *(
        Fault(
            f"a registration signals {hits} times at most",
            promises.SIGNAL,
            forgetting(lambda device, _run, hits=hits: device.signals >= hits),
            ("eventfd", "vcpus"),
        )
        for hits in (3, 48, 96, 100, 128)
    ),
)
