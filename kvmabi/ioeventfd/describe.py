"""Steps, expectations and sightings as one line of text each: for reports and for --repro."""

from __future__ import annotations

import errno as errno_names
from typing import assert_never

from kvmabi import uapi
from kvmabi.ioeventfd.contract import Bus, ExpectedExit
from kvmabi.ioeventfd.steps import (
    Access,
    CloseFd,
    CoalescedZones,
    DupFd,
    FillFd,
    GuestRun,
    Ioeventfd,
    OpenFd,
    ReplaceVm,
    Step,
    Together,
)
from kvmabi.vmm import Exit

_EXIT_REASONS = {uapi.KVM_EXIT_IO: "KVM_EXIT_IO", uapi.KVM_EXIT_MMIO: "KVM_EXIT_MMIO"}
_FLAGS = {
    uapi.KVM_IOEVENTFD_FLAG_DATAMATCH: "DATAMATCH",
    uapi.KVM_IOEVENTFD_FLAG_PIO: "PIO",
    uapi.KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY: "VIRTIO_CCW_NOTIFY",
}


def errno_name(number: int) -> str:
    """Return "0", or an errno with its name: "EEXIST (17)"."""
    if number == 0:
        return "0"
    return f"{errno_names.errorcode.get(number, 'errno')} ({number})"


def flag_names(flags: int, *, pv_mmio: bool = False) -> str:
    """Return KVM_IOEVENTFD flags by name without DEASSIGN, unnamed bits as hexadecimal."""
    names = [name for bit, name in _FLAGS.items() if flags & bit]
    rest = flags & ~sum(_FLAGS) & ~uapi.KVM_IOEVENTFD_FLAG_DEASSIGN
    names += ["PV_MMIO"] if pv_mmio else []
    names += [f"{rest:#x}"] if rest else []
    return "|".join(names) or "0"


def access_text(access: Access) -> str:
    """Return one access, such as `write 4 bytes 0xfa at BAR0+0x800`."""
    verb = ("write" if access.write else "read") + (" string of" if access.string else "")
    values = " ".join(f"{value:#x}" for value in access.values) if access.write else ""
    count = f"{len(access.values)} x " if access.string else ""
    plural = "" if access.width == 1 else "s"
    parts = [verb, f"{count}{access.width} byte{plural}", values, f"at {access.bus} {access.place}"]
    if access.insn:
        parts.append(f"by a {access.insn}-byte instruction")
    return " ".join(part for part in parts if part)


def step_text(step: Step) -> str:
    """Return one step as a line of text."""
    match step:
        case Ioeventfd():
            verb = "deassign" if step.is_deassign else "assign"
            flags = flag_names(step.flags, pv_mmio=step.pv_mmio)
            datamatch = "" if step.wildcard and not step.datamatch else f" {step.datamatch:#x}"
            return (
                f"{verb} vm{step.vm} addr {step.place} len {step.len} flags {flags}"
                f"{' datamatch' + datamatch if datamatch else ''} fd {step.fd}"
            )
        case GuestRun():
            threads = " by two threads in turn" if step.handover else ""
            accesses = "; ".join(map(access_text, step.accesses))
            return f"vm{step.vm} vcpu{step.vcpu}{threads}: {accesses}"
        case Together():
            return "at once: " + " || ".join(map(step_text, step.runs))
        case OpenFd():
            return f"open {step.name} ({step.kind})"
        case DupFd():
            return f"dup {step.of} as {step.name}"
        case CloseFd():
            return f"close {step.name}"
        case FillFd():
            return f"write {step.count:#x} to {step.name}"
        case CoalescedZones():
            return f"register {step.count} coalesced zones on {step.bus} from {step.place}"
        case ReplaceVm():
            return f"close vm{step.vm} and make a new one"
        case _:
            assert_never(step)


def expected_text(expected: ExpectedExit) -> str:
    """Return a promised exit, such as `KVM_EXIT_MMIO write of 4 at 0xe0000800 = 0xfa`."""
    reason = "KVM_EXIT_IO" if expected.bus is Bus.PIO else "KVM_EXIT_MMIO"
    if expected.value is None:
        return f"{reason} read of {expected.width} at {expected.address:#x}"
    return f"{reason} write of {expected.width} at {expected.address:#x} = {expected.value:#x}"


def exit_text(seen: Exit) -> str:
    """Return an exit that happened, in the words of `expected_text`."""
    reason = _EXIT_REASONS.get(seen.reason, f"exit reason {seen.reason}")
    if not seen.write:
        return f"{reason} read of {seen.width} at {seen.address:#x}"
    value = int.from_bytes(seen.data, "little")
    return f"{reason} write of {seen.width} at {seen.address:#x} = {value:#x}"
