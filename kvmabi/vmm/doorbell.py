"""Doorbells: the ioeventfds that a device wants inside a BAR of its own."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from kvmabi import uapi

if TYPE_CHECKING:
    from kvmabi.kvm import VM


@dataclass(frozen=True, slots=True)
class Doorbell:
    """An eventfd to be signalled by writes of `width` bytes at `offset` in a BAR."""

    offset: int
    width: int
    fd: int
    datamatch: int | None = None
    """The value that rings; None for every value."""
    pv: bool = False
    """Whether the guest promises to write there in the registered way only (PV_MMIO)."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A doorbell as it was asked of KVM: `error` is 0, or the errno with which KVM refused."""

    doorbell: Doorbell
    address: int
    length: int
    flags: int
    how: str
    """"plain", "pv-mmio", or for a pv doorbell on a kernel without that "any-length"."""
    error: int = 0


class Registrar(Protocol):
    """What makes registrations of doorbells."""

    def assign(self, bus: str, address: int, doorbell: Doorbell) -> Registration:
        """Register at this address; never raises, see `Registration.error`."""

    def deassign(self, registration: Registration) -> None:
        """Take back what `assign` gave; one that was refused is left alone."""


class KvmRegistrar:
    """Registers doorbells as ioeventfds of a VM."""

    def __init__(self, vm: VM) -> None:
        self._vm = vm

    def assign(self, bus: str, address: int, doorbell: Doorbell) -> Registration:
        """Register at this address; a pv doorbell in the fastest way that this KVM knows."""
        flags = uapi.KVM_IOEVENTFD_FLAG_PIO if bus == "pio" else 0
        if doorbell.datamatch is not None:
            flags |= uapi.KVM_IOEVENTFD_FLAG_DATAMATCH
        plain = Registration(doorbell, address, doorbell.width, flags, "plain")
        if doorbell.pv:
            pv_flags = flags | uapi.KVM_IOEVENTFD_FLAG_PV_MMIO
            for way in (
                replace(plain, flags=pv_flags, how="pv-mmio"),
                replace(plain, length=0, how="any-length"),
            ):
                tried = self._try(way)
                if tried.error != errno.EINVAL:
                    return tried
        return self._try(plain)

    def _try(self, wanted: Registration) -> Registration:
        return replace(wanted, error=self._vm.try_ioeventfd(_argument(wanted)))

    def deassign(self, registration: Registration) -> None:
        """Take back what `assign` gave; raises IoctlError where the kernel lost it."""
        if not registration.error:
            self._vm.ioeventfd(_argument(registration, uapi.KVM_IOEVENTFD_FLAG_DEASSIGN))


def _argument(registration: Registration, more_flags: int = 0) -> uapi.kvm_ioeventfd:
    arg = uapi.kvm_ioeventfd()
    arg.addr = registration.address
    arg.len = registration.length
    arg.fd = registration.doorbell.fd
    arg.flags = registration.flags | more_flags
    arg.datamatch = registration.doorbell.datamatch or 0
    return arg
