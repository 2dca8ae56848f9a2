"""What a fault is, and how a `FakeKvm` is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kvmabi.ioeventfd.contract import Kernel
from tests.unit.ioeventfd.fake_kvm import Device, FakeKvm, Run

TODAY: Final = Kernel(0x1F, "test")
WITH_PV_MMIO: Final = Kernel(0x3F, "test", pv_mmio=1 << 5)
WITHOUT_CAPABILITIES: Final = Kernel(0x07, "test", any_length=False, no_length=False)
MMIO_ONLY: Final = Kernel(0x0F, "test", any_length=False, no_length=True)


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken kernel: what is wrong with it, which promise that breaks, and where it may show.

    `families` are looked at first; they only save time.
    """

    name: str
    promise: int
    kvm: type[FakeKvm]
    families: tuple[str, ...] = ()
    kernel: Kernel = TODAY


def changed(**hooks: Callable[..., Any]) -> type[FakeKvm]:
    """Return a kernel with these methods instead of its own."""
    return type("Broken", (FakeKvm,), hooks)


def wider(hook: str, when: Callable[..., object]) -> type[FakeKvm]:
    """Return a kernel whose test `hook` also succeeds where `when` says so."""
    faithful = getattr(FakeKvm, hook)
    return changed(**{hook: lambda self, *args: faithful(self, *args) or bool(when(*args))})


def narrower(hook: str, when: Callable[..., object]) -> type[FakeKvm]:
    """Return a kernel whose test `hook` fails where `when` says so."""
    faithful = getattr(FakeKvm, hook)
    return changed(**{hook: lambda self, *args: faithful(self, *args) and not when(*args)})


def seeking(find: Callable[[list[Device], Run], list[Device]]) -> type[FakeKvm]:
    """Return a kernel where `find` changes which devices take a write."""
    faithful = FakeKvm.find
    return changed(
        find=lambda self, run, bus, address, data: find(
            faithful(self, run, bus, address, data), run
        )
    )


def forgetting(when: Callable[[Device, Run], object]) -> type[FakeKvm]:
    """Return a kernel where the devices that `when` names take no write."""
    return seeking(lambda found, run: [each for each in found if not when(each, run)])


def number(data: bytes) -> int:
    """Return the value that a guest wrote."""
    return int.from_bytes(data, "little")


def siblings(device: Device, run: Run) -> list[Device]:
    """Return all devices at the address of one, in the order of their assign."""
    at = (device.bus, device.address)
    return [each for each in run.vm.ioeventfds if (each.bus, each.address) == at]


def same_spot(old: Device, new: Device) -> bool:
    return (old.bus, old.address) == (new.bus, new.address)


def low_bytes(value: int, length: int) -> int:
    return value & (1 << 8 * length) - 1
