"""What this kernel really does with ioeventfds: by registering them, and by having a guest write.

Registrations that are only to be accepted or refused are left to the VM's end: a deassign waits
for a grace period, which some kernels take milliseconds for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from kvmabi import uapi
from kvmabi.ioeventfd.contract import BUS_FLAGS, LENGTHS, Bus, Kernel
from kvmabi.ioeventfd.detect import HeaderFlags, detect_kernel
from kvmabi.kvm import VM, System
from kvmabi.probing.gather.common import constants, errno_name
from kvmabi.probing.gather.ioeventfd_costs import capacity, registration_costs
from kvmabi.probing.report import Json
from kvmabi.probing.setting import Setting, Skip

BASE: Final = 0xE000_0000
"""A guest-physical address that no memory slot backs."""
PORT: Final = 0xC000
FLAG_BITS: Final = 32
_ENUMERATORS: Final = "kvm_ioeventfd_flag_nr_"
_FLAGS: Final = "KVM_IOEVENTFD_FLAG_"


def gather(setting: Setting) -> Json:
    """The section's data."""
    with System.open(setting.device) as system:
        if not system.check_extension(uapi.KVM_CAP_IOEVENTFD):
            raise Skip("this kernel has no ioeventfds (KVM_CAP_IOEVENTFD)")
        flags = _header_flags(setting)
        kernel = detect_kernel(system, setting.root / "sys/kernel/btf", flags)
        with ExitStack() as stack:
            fd = os.eventfd(0, os.EFD_CLOEXEC)
            stack.callback(os.close, fd)
            vm = stack.enter_context(system.create_vm())
            trial = _Trial(vm, fd)
            found: Json = {
                "mask": {
                    "value": kernel.valid_flag_mask,
                    "source": kernel.mask_source,
                    "note": flags.disagreement(kernel) if flags else "",
                },
                "flags": [_flag(trial, bit, kernel, setting) for bit in range(FLAG_BITS)],
                "lens": _lens(trial, kernel),
                "any_length": {
                    "capability": int(kernel.any_length),
                    "capability_mmio": int(kernel.no_length),
                },
                "clashes": _clashes(trial, stack),
                "pv_mmio": _pv_mmio(trial, kernel, flags),
            }
        found["registration"] = registration_costs(system)
        found["costs"] = _guest_costs(system, setting)
        found["capacity"] = capacity(system, thorough=setting.thorough)
    return found


def _header_flags(setting: Setting) -> HeaderFlags | None:
    if setting.headers is None or setting.facts is None:
        return None
    return HeaderFlags.of(setting.facts, setting.headers.label)


def _guest_costs(system: System, setting: Setting) -> Json:
    if not setting.is_x86:
        nothing = {"verdict": "unknown", "ratio": None}
        return {"rows": [], "tsc_khz": 0, "fast_path": nothing, "reason": "the guest is x86's"}
    from kvmabi.probing.gather.guest_writes import guest_costs  # noqa: PLC0415 (as above)

    return guest_costs(system)


class _Trial:
    """A VM in which each registration that is tried has an address of its own."""

    def __init__(self, vm: VM, fd: int) -> None:
        self.vm = vm
        self.fd = fd
        self._used = 0

    def fresh(self, bus: Bus) -> int:
        """An address that nothing is registered at."""
        self._used += 8
        return PORT + self._used if bus is Bus.PIO else BASE + self._used

    def errno(self, addr: int, length: int, flags: int, datamatch: int = 0, fd: int = -1) -> int:
        """What KVM_IOEVENTFD gives; 0 for success."""
        argument = uapi.kvm_ioeventfd()
        argument.addr = addr
        argument.len = length
        argument.flags = flags
        argument.datamatch = datamatch
        argument.fd = self.fd if fd < 0 else fd
        return self.vm.try_ioeventfd(argument)


def _flag(trial: _Trial, bit: int, kernel: Kernel, setting: Setting) -> Json:
    """One flag bit, tried alone; the deassign bit counts as accepted where it finds nothing."""
    flag = 1 << bit
    error = trial.errno(trial.fresh(Bus.of_flags(flag)), 4, flag)
    deassign = flag == uapi.KVM_IOEVENTFD_FLAG_DEASSIGN
    accepted = errno_name(error) == "ENOENT" if deassign else error == 0
    return {
        "bit": bit,
        "name": _name(constants(_FLAGS, setting), flag),
        "enumerator": _name(constants(_ENUMERATORS, setting), bit),
        "in_mask": bool(kernel.valid_flag_mask & flag),
        "accepted": accepted,
        "errno": errno_name(error),
    }


def _name(names: Mapping[str, int], value: int) -> str:
    return next((n for n, v in names.items() if v == value and not n.endswith("_max")), "")


def _lens(trial: _Trial, kernel: Kernel) -> list[Json]:
    """Every documented length, and one that is not, on every bus that the mask allows."""
    found = []
    for bus, flags in BUS_FLAGS.items():
        if flags & ~kernel.valid_flag_mask:
            continue
        for length in (*sorted(LENGTHS), 3, 16):
            error = trial.errno(trial.fresh(bus), length, flags)
            found.append(
                {
                    "bus": str(bus),
                    "len": length,
                    "documented": length in LENGTHS,
                    "accepted": error == 0,
                    "errno": errno_name(error),
                }
            )
    return found


def _clashes(trial: _Trial, stack: ExitStack) -> list[Json]:
    """What second registrations at one address, and deassigns that miss, give."""
    other = os.eventfd(0, os.EFD_CLOEXEC)
    stack.callback(os.close, other)
    pipe = os.pipe()
    for end in pipe:
        stack.callback(os.close, end)
    deassign, match = uapi.KVM_IOEVENTFD_FLAG_DEASSIGN, uapi.KVM_IOEVENTFD_FLAG_DATAMATCH
    wild, data = trial.fresh(Bus.MMIO), trial.fresh(Bus.MMIO)
    trial.errno(wild, 4, 0)
    trial.errno(data, 4, match, 1)
    rows = (
        ("assign: the same again", "EEXIST", (wild, 4, 0, 0)),
        ("assign: the same, another eventfd", "EEXIST", (wild, 4, 0, 0, other)),
        ("assign: datamatch beside the wildcard", "EEXIST", (wild, 4, match, 1)),
        ("assign: another length beside it", "", (wild, 2, 0, 0)),
        ("assign: the same datamatch again", "EEXIST", (data, 4, match, 1)),
        ("assign: another datamatch beside it", "", (data, 4, match, 2)),
        ("assign: a descriptor that is no eventfd", "EINVAL", (data, 1, 0, 0, pipe[0])),
        ("assign: up to the last byte of the address space", "EINVAL", ((1 << 64) - 8, 8, 0, 0)),
        ("deassign: nothing there", "ENOENT", (BASE - 64, 4, deassign, 0)),
        ("deassign: another length", "ENOENT", (wild, 8, deassign, 0)),
        ("deassign: another eventfd", "ENOENT", (wild, 4, deassign, 0, other)),
        ("deassign: datamatch for the wildcard", "ENOENT", (wild, 4, deassign | match, 0)),
        ("deassign: another datamatch", "ENOENT", (data, 4, deassign | match, 9)),
        ("deassign: the registration itself", "", (wild, 4, deassign, 0)),
    )
    return [
        {"what": what, "documented": documented, "errno": errno_name(trial.errno(*arguments))}
        for what, documented, arguments in rows
    ]


def _pv_mmio(trial: _Trial, kernel: Kernel, headers: HeaderFlags | None) -> Json:
    """Whether KVM_IOEVENTFD_FLAG_PV_MMIO is there, and what its bit gives when assigned."""
    named = headers.pv_mmio if headers else 0
    flag = kernel.pv_mmio or named or uapi.KVM_IOEVENTFD_FLAG_PV_MMIO
    error = trial.errno(trial.fresh(Bus.MMIO), 4, flag)
    return {
        "in_kernel": bool(kernel.pv_mmio),
        "flag": flag,
        "accepted": error == 0,
        "errno": errno_name(error),
    }
