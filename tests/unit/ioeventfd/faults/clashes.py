"""Kernels that see a clash where there is none, or none where there is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from kvmabi.ioeventfd import promises
from tests.unit.ioeventfd.fake_kvm import (
    CCW,
    MMIO,
    PIO,
    Device,
)
from tests.unit.ioeventfd.faults.base import (
    Fault,
    changed,
    low_bytes,
    narrower,
    same_spot,
    wider,
)


def both_datamatch(old: Device, new: Device) -> bool:
    return same_spot(old, new) and not old.wildcard and not new.wildcard


def overlaps(old: Device, new: Device) -> bool:
    return (
        old.bus == new.bus
        and old.address < new.address + max(new.length, 1)
        and new.address < old.address + max(old.length, 1)
        and old.address != new.address
    )


def other_bus(old: Device, new: Device, buses: set[str]) -> bool:
    return {old.bus, new.bus} == buses and old.address == new.address


def mixed_length(old: Device, new: Device) -> bool:
    return (old.length == 0) != (new.length == 0)


FAMILIES: Final = ("clash-several", "pair")
"""Where most of these show."""

_ROWS: Final = (
    Fault("no clash", promises.CLASH, changed(collides=lambda *_: False), ("phase",)),
    Fault("a clash by address alone", promises.SHARING, wider("collides", same_spot)),
    Fault(
        "a clash of overlapping ranges",
        promises.SHARING,
        wider("collides", overlaps),
        ("neighbours",),
    ),
    Fault(
        "a clash of ports with memory",
        promises.SHARING,
        wider("collides", lambda old, new: other_bus(old, new, {MMIO, PIO})),
        ("buses",),
    ),
    Fault(
        "a clash of virtio_ccw with memory",
        promises.SHARING,
        wider("collides", lambda old, new: other_bus(old, new, {MMIO, CCW})),
        ("buses",),
    ),
    Fault(
        "no clash of equals on virtio_ccw",
        promises.CLASH,
        narrower("collides", lambda old, _new: old.bus == CCW),
    ),
    Fault(
        "no clash with any-length on virtio_ccw",
        promises.CLASH,
        narrower("collides", lambda old, new: old.bus == CCW and mixed_length(old, new)),
    ),
    Fault(
        "no clash with a wildcard on virtio_ccw",
        promises.CLASH,
        narrower("collides", lambda old, new: old.bus == CCW and old.wildcard != new.wildcard),
    ),
    Fault(
        "a clash by address alone on virtio_ccw",
        promises.SHARING,
        wider("collides", lambda old, new: old.bus == CCW and same_spot(old, new)),
    ),
    Fault(
        "no clash of two eventfds",
        promises.CLASH,
        narrower("collides", lambda old, new: old.eventfd is not new.eventfd),
    ),
    Fault(
        "no clash of one eventfd",
        promises.CLASH,
        narrower("collides", lambda old, new: old.eventfd is new.eventfd),
    ),
    Fault(
        "a clash of one eventfd at one address",
        promises.SHARING,
        wider("collides", lambda old, new: same_spot(old, new) and old.eventfd is new.eventfd),
    ),
    Fault(
        "a clash of one eventfd on one bus",
        promises.SHARING,
        wider("collides", lambda old, new: old.bus == new.bus and old.eventfd is new.eventfd),
    ),
    Fault(
        "a clash of datamatches equal in 32 bits",
        promises.SHARING,
        wider(
            "collides",
            lambda old, new: (
                both_datamatch(old, new)
                and old.length == new.length
                and not (old.datamatch ^ new.datamatch) & 0xFFFF_FFFF
            ),
        ),
    ),
    Fault(
        "a clash of datamatches equal within the width",
        promises.SHARING,
        wider(
            "collides",
            lambda old, new: (
                both_datamatch(old, new)
                and old.length == new.length
                and low_bytes(old.datamatch ^ new.datamatch, old.length) == 0
            ),
        ),
    ),
    Fault(
        "a clash of datamatches above the width",
        promises.SHARING,
        wider(
            "collides",
            lambda old, new: (
                both_datamatch(old, new)
                and old.length == new.length
                and (old.datamatch | new.datamatch) >> 8 * old.length
            ),
        ),
    ),
    Fault(
        "a clash of one datamatch at two lengths",
        promises.SHARING,
        wider(
            "collides", lambda old, new: both_datamatch(old, new) and old.datamatch == new.datamatch
        ),
    ),
    Fault(
        "a clash of a wildcard with a datamatch of another length",
        promises.SHARING,
        wider("collides", lambda old, new: same_spot(old, new) and old.wildcard != new.wildcard),
    ),
    Fault(
        "no clash of wildcard and datamatch",
        promises.CLASH,
        narrower("collides", lambda old, new: old.wildcard != new.wildcard),
    ),
    Fault(
        "no clash of a new wildcard",
        promises.CLASH,
        narrower("collides", lambda old, new: new.wildcard and not old.wildcard),
    ),
    Fault(
        "no clash of a new datamatch",
        promises.CLASH,
        narrower("collides", lambda old, new: old.wildcard and not new.wildcard),
    ),
    Fault(
        "no clash of any-length with a length", promises.CLASH, narrower("collides", mixed_length)
    ),
    Fault(
        "no clash of a new any-length with a datamatch",
        promises.CLASH,
        narrower("collides", lambda old, new: not new.length and not old.wildcard),
    ),
    Fault(
        "no clash of an old any-length with a datamatch",
        promises.CLASH,
        narrower("collides", lambda old, new: not old.length and not new.wildcard),
    ),
    Fault(
        "no clash of wildcards whose datamatch fields differ",
        promises.CLASH,
        narrower(
            "collides",
            lambda old, new: old.wildcard and new.wildcard and old.datamatch != new.datamatch,
        ),
    ),
    Fault(
        "a clash with the first registration alone",
        promises.CLASH,
        changed(rivals=lambda _, vm: vm.ioeventfds[:1]),
    ),
    Fault(
        "a clash with the last registration alone",
        promises.CLASH,
        changed(rivals=lambda _, vm: vm.ioeventfds[-1:]),
    ),
    Fault(
        "a clash with the first two alone",
        promises.CLASH,
        changed(rivals=lambda _, vm: vm.ioeventfds[:2]),
    ),
    Fault(
        "a clash with the last two alone",
        promises.CLASH,
        changed(rivals=lambda _, vm: vm.ioeventfds[-2:]),
    ),
    Fault(
        "a clash with all but the middle",
        promises.CLASH,
        changed(rivals=lambda _, vm: [*vm.ioeventfds[:1], *vm.ioeventfds[1:][-1:]]),
    ),
    Fault(
        "a clash with other VMs",
        promises.SHARING,
        changed(rivals=lambda self, _vm: [each for vm in self.vms for each in vm.ioeventfds]),
        ("vms",),
    ),
)

FAULTS: Final = tuple(replace(row, families=row.families or FAMILIES) for row in _ROWS)
