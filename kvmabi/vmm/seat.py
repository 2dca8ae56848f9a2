"""A vCPU at its work: the loop around KVM_RUN that serves a batch of accesses.

This is the hot path of the matrix: it reads `kvm_run` by precompiled structs, and makes one tuple
an exit.
"""

from __future__ import annotations

import errno
import time
from contextlib import nullcontext
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias

from kvmabi import uapi
from kvmabi.errors import GuestCrash, GuestError
from kvmabi.kvm.vcpu import run_offset
from kvmabi.vmm.access import MMIO, PIO, Access, Batch, Exit, Outcome
from kvmabi.vmm.handover import handed_over

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kvmabi.kvm import Vcpu
    from kvmabi.vmm.bus import Bus
    from kvmabi.vmm.requests import Requests

_EXIT_IO = uapi.KVM_EXIT_IO
_EXIT_MMIO = uapi.KVM_EXIT_MMIO
_EXIT_HLT = uapi.KVM_EXIT_HLT
_FATAL = {
    uapi.KVM_EXIT_SHUTDOWN: "KVM_EXIT_SHUTDOWN",
    uapi.KVM_EXIT_INTERNAL_ERROR: "KVM_EXIT_INTERNAL_ERROR",
    uapi.KVM_EXIT_FAIL_ENTRY: "KVM_EXIT_FAIL_ENTRY",
}
_REASON_WORD = run_offset("exit_reason") >> 2
_MMIO_AT = run_offset("mmio")
_MMIO_DATA_AT = _MMIO_AT + 8
_IO_AT = run_offset("io")

MMIO_EXIT = Struct("=Q8sIB")
"""kvm_run.mmio: phys_addr, data, len, is_write."""
IO_EXIT = Struct("=BBHIQ")
"""kvm_run.io: direction, size, port, count, data_offset."""
_unpack_mmio = MMIO_EXIT.unpack_from
_unpack_io = IO_EXIT.unpack_from

Answer: TypeAlias = "Callable[[int], bytes]"
"""Gives as many bytes as it is asked for, to answer a read with."""
MAX_UNKNOWN_EXITS = 100
"""So many exits of no known kind in one batch are taken for a crash."""


class Seat:
    """One vCPU of a machine, with its mailbox and the buses that its exits go to."""

    def __init__(self, vcpu: Vcpu, requests: Requests, mmio: Bus, pio: Bus) -> None:
        self.vcpu = vcpu
        self.requests = requests
        self._mmio = mmio
        self._pio = pio
        self._lost = ""
        self._answer: Answer | None = None

    def perform(
        self,
        accesses: Sequence[Access],
        deadline_s: float,
        *,
        timed: bool = False,
        handover: bool = False,
        answer: Answer | None = None,
    ) -> Batch:
        """What came of these accesses; see `ExerciserMachine.perform`."""
        if self._lost:
            raise GuestError(f"the guest of this vCPU is lost: {self._lost}")
        exits: list[Exit] = []
        outcomes: list[Outcome] = []
        deadline = time.monotonic() + deadline_s
        start = 0
        self._answer = answer
        with handed_over(self.vcpu) if handover else nullcontext(self.vcpu.try_run) as try_run:
            while start < len(accesses):
                posted = self.requests.post(accesses, start, timed)
                self.run_to_halt(exits, start, deadline, deadline_s, try_run)
                self.requests.check()
                outcomes += self.requests.collect()
                start += posted
        return Batch(exits, outcomes)

    def run_to_halt(
        self,
        exits: list[Exit],
        first: int,
        deadline: float,
        seconds: float,
        try_run: Callable[[], int] | None = None,
    ) -> None:
        """Run the guest until it halts, and append its exits; `first` is its first access' index.

        `try_run` stands in for the vCPU's own where it is given.

        Raises GuestTimeout, GuestCrash and IoctlError; the vCPU is of no use then.
        """
        guard = self.vcpu.guard
        guard.arm(deadline)
        try:
            self._run_to_halt(exits, first, seconds, try_run or self.vcpu.try_run)
        except BaseException as error:
            self._lost = str(error) or type(error).__name__
            raise
        finally:
            guard.disarm()

    def _run_to_halt(
        self, exits: list[Exit], first: int, seconds: float, try_run: Callable[[], int]
    ) -> None:
        words = self.vcpu.run_words
        current = self.requests.current
        while True:
            error = try_run()
            if error:
                self._interrupted(error, seconds)
                continue
            reason = words[_REASON_WORD]
            if reason == _EXIT_HLT:
                return
            access = current()
            if access >= 0:
                access += first
            if reason == _EXIT_MMIO:
                self._serve_mmio(exits, access)
            elif reason == _EXIT_IO:
                self._serve_io(exits, access)
            else:
                self._serve_unknown(exits, access, reason)

    def _serve_mmio(self, exits: list[Exit], access: int) -> None:
        run = self.vcpu.run_bytes
        address, data, size, is_write = _unpack_mmio(run, _MMIO_AT)
        if is_write:
            data = data[:size]
            self._mmio.write(address, data)
        else:
            data = self._answer(size) if self._answer else self._mmio.read(address, size)
            run[_MMIO_DATA_AT : _MMIO_DATA_AT + size] = data
        exits.append(Exit(access, _EXIT_MMIO, MMIO, address, size, is_write != 0, data))

    def _serve_io(self, exits: list[Exit], access: int) -> None:
        run = self.vcpu.run_bytes
        direction, size, port, count, start = _unpack_io(run, _IO_AT)
        is_write = direction == uapi.KVM_EXIT_IO_OUT
        for at in range(start, start + size * count, size):
            if is_write:
                data = bytes(run[at : at + size])
                self._pio.write(port, data)
            else:
                data = self._answer(size) if self._answer else self._pio.read(port, size)
                run[at : at + size] = data
            exits.append(Exit(access, _EXIT_IO, PIO, port, size, is_write, data))

    def _serve_unknown(self, exits: list[Exit], access: int, reason: int) -> None:
        exits.append(Exit(access, reason, "", 0, 0, False, b""))
        name = _FATAL.get(reason, "")
        if not name and sum(not one.bus for one in exits) >= MAX_UNKNOWN_EXITS:
            name = f"exit reason {reason}, time and again"
        if name:
            raise GuestCrash(f"{name} on vCPU {self.vcpu.index} ({self._registers()})")

    def _interrupted(self, error: int, seconds: float) -> None:
        """Go on after a signal that meant somebody else; raise what else KVM_RUN failed with."""
        if error not in (errno.EINTR, errno.EAGAIN) or self.vcpu.guard.expired:
            raise self.vcpu.run_error(error, seconds)

    def _registers(self) -> str:
        regs = self.vcpu.get_regs()
        names = ("rip", "rsp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rflags")
        text = " ".join(f"{name}={getattr(regs, name):#x}" for name in names)
        return f"{text} cr2={self.vcpu.get_sregs().cr2:#x}"

    def close(self) -> None:
        """Let go of the mailbox and the vCPU."""
        self.requests.close()
        self.vcpu.close()
