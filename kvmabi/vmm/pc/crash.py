"""Why a vCPU cannot go on, in the words of the exit that KVM gave.

Source: Documentation/virt/kvm/api.rst, KVM_EXIT_INTERNAL_ERROR and KVM_EXIT_FAIL_ENTRY.
"""

from __future__ import annotations

from typing import Final

from kvmabi import uapi

SUBERRORS: Final = {
    uapi.KVM_INTERNAL_ERROR_EMULATION: "it cannot emulate an instruction",
    uapi.KVM_INTERNAL_ERROR_SIMUL_EX: "exceptions at once",
    uapi.KVM_INTERNAL_ERROR_DELIVERY_EV: "an exit while it delivered an event",
    uapi.KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: "an exit that it did not expect",
}
WORDS_WITH_BYTES: Final = 3
"""So many words of data there are where an instruction's bytes are among them."""


def why(run: uapi.kvm_run) -> str:
    """What the exit in `kvm_run` says that went wrong, for a message."""
    reason = run.exit_reason
    if reason == uapi.KVM_EXIT_SHUTDOWN:
        return "the guest shut down (a triple fault)"
    if reason == uapi.KVM_EXIT_FAIL_ENTRY:
        code = run.fail_entry.hardware_entry_failure_reason
        return f"the CPU refused to enter the guest (reason {code:#x})"
    if reason == uapi.KVM_EXIT_INTERNAL_ERROR:
        return f"KVM could not go on (an internal error: {_internal_error(run)})"
    return f"exit reason {reason}, which this machine does not serve"


def _internal_error(run: uapi.kvm_run) -> str:
    suberror = run.internal.suberror
    what = SUBERRORS.get(suberror, f"number {suberror}")
    code = _instruction(run.emulation_failure)
    return f"{what}, {code.hex(' ')}" if code else what


def _instruction(failure: uapi.kvm_run__emulation_failure) -> bytes:
    """The instruction that was not emulated, and what follows it; empty where KVM gives none."""
    if failure.suberror != uapi.KVM_INTERNAL_ERROR_EMULATION or failure.ndata < WORDS_WITH_BYTES:
        return b""
    if not failure.flags & uapi.KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES:
        return b""
    return bytes(failure.insn_bytes)[: failure.insn_size]
