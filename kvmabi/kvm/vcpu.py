"""A vCPU's fd: registers, and KVM_RUN with a deadline."""

from __future__ import annotations

import errno
import mmap
import time
from contextlib import suppress
from fcntl import ioctl
from typing import TYPE_CHECKING

from kvmabi import uapi
from kvmabi.errors import GuestTimeout, IoctlError
from kvmabi.kvm.deadline import Guard
from kvmabi.kvm.fd import KvmFd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kvmabi.kvm.cpuid import Cpuid

_KVM_RUN = uapi.KVM_RUN


def run_offset(field: str) -> int:
    """The offset in bytes of a field of `struct kvm_run`."""
    return int(getattr(uapi.kvm_run, field).offset)


_REASON_WORD = run_offset("exit_reason") >> 2
EXIT_QUADS = slice(run_offset("exit_reason") >> 3, (run_offset("mmio") >> 3) + 3)
"""The words of 64 bits in `run_quads` that describe an exit: its reason, and behind it MMIO's three
words, or I/O's two and what a previous exit has left in the third."""


class Vcpu(KvmFd):
    """A virtual CPU. One thread at a time may use it; any thread may.

    `run` is the kernel's `struct kvm_run`, mapped. `run_bytes`, `run_words` and `run_quads` are the
    same memory as bytes and as words of 32 and 64 bits, for loops that cannot afford ctypes;
    `exit_quads` are those of the words that describe an exit. `run_map` is the mapping itself,
    whose slices are copies.
    """

    kind = "vCPU"

    def __init__(self, fd: int, index: int, mmap_size_bytes: int) -> None:
        super().__init__(fd)
        self.index = index
        try:
            self.run_map = mmap.mmap(fd, mmap_size_bytes)
        except BaseException:
            super().close()
            raise
        self.run = uapi.kvm_run.from_buffer(self.run_map)
        self.run_bytes = memoryview(self.run_map)
        self.run_words = self.run_bytes.cast("I")
        self.run_quads = self.run_bytes.cast("Q")
        self.exit_quads = self.run_quads[EXIT_QUADS]
        self.guard = Guard(self.run_bytes)

    def try_run(self) -> int:
        """Errno of one KVM_RUN, and 0 where it returned with an `exit_reason`.

        EINTR where a signal came, or `immediate_exit` was set. Without an armed `guard`, a guest
        that never exits is never ended.
        """
        try:
            ioctl(self.fd, _KVM_RUN)
        except OSError as error:
            return error.errno or 0
        return 0

    def run_while_known(self, known: Mapping[bytes, Iterator[object]], last: memoryview) -> None:
        """KVM_RUN again and again, answering each exit by a step of what `known` has for it.

        Keys are the bytes of `exit_quads`. `last` is as large, and holds the exit that is being
        answered: whoever changes `known` meanwhile overwrites it, and so has the next exit looked
        up. Returns at the first exit that `known` has not, for the caller to serve. Raises OSError
        where KVM_RUN fails.

        The hottest loop of all: see `kvmabi.vmm.pc.loop` for why it is as it is. Given an argument,
        even 0, fcntl.ioctl would first try to take it as two kinds of buffer.
        """
        fd, live = self.fd, self.exit_quads
        enter, request = ioctl, _KVM_RUN
        enter(fd, request)
        while True:
            last[:] = live
            answers = known.get(last.tobytes())
            if answers is None:
                return
            for _ in answers:  # the step answers
                enter(fd, request)
                if live != last:
                    break
            else:
                return

    def run_until_exit(self, deadline_s: float = 5.0) -> int:
        """The exit reason (KVM_EXIT_*) of one KVM_RUN; signals that come between are survived.

        Raises GuestTimeout after `deadline_s` seconds, and IoctlError.
        """
        guard = self.guard
        guard.arm(time.monotonic() + deadline_s)
        try:
            error = self.try_run()
            while error in (errno.EINTR, errno.EAGAIN) and not guard.expired:
                error = self.try_run()
            if error:
                raise self.run_error(error, deadline_s)
        finally:
            guard.disarm()
        return self.run_words[_REASON_WORD]

    def run_error(self, error: int, deadline_s: float) -> GuestTimeout | IoctlError:
        """What to raise where KVM_RUN failed with errno `error` under an armed guard."""
        if error == errno.EINTR and self.guard.expired:
            return GuestTimeout(
                f"vCPU {self.index} did not leave KVM_RUN within {deadline_s:g} s "
                f"(rip {self.get_regs().rip:#x})",
                seconds=deadline_s,
            )
        return IoctlError(error, "KVM_RUN", self.kind)

    def get_regs(self) -> uapi.kvm_regs:
        """The general registers; after an I/O exit, as they were before the access."""
        regs = uapi.kvm_regs()
        self.call("KVM_GET_REGS", regs)
        return regs

    def set_regs(self, regs: uapi.kvm_regs) -> None:
        """Load the general registers."""
        self.call("KVM_SET_REGS", regs)

    def get_sregs(self) -> uapi.kvm_sregs:
        """The segment, table, control and EFER registers."""
        sregs = uapi.kvm_sregs()
        self.call("KVM_GET_SREGS", sregs)
        return sregs

    def set_sregs(self, sregs: uapi.kvm_sregs) -> None:
        """Load the segment, table, control and EFER registers."""
        self.call("KVM_SET_SREGS", sregs)

    def set_cpuid2(self, cpuid: Cpuid) -> None:
        """Say what the guest's CPUID instruction gives; before the first run."""
        self.call("KVM_SET_CPUID2", bytearray(cpuid.raw))

    def tsc_khz(self) -> int:
        """The frequency of this vCPU's time-stamp counter in kHz."""
        return self.call("KVM_GET_TSC_KHZ")

    def close(self) -> None:
        """Unmap `kvm_run` and close the fd, so that the kernel can let go of the VM."""
        if self.fd >= 0:
            self.guard.retire()
            self.run_words.release()
            self.run_quads.release()
            self.exit_quads.release()
            self.run_bytes.release()
            del self.run
            with suppress(BufferError):  # a caller still holds a piece of `run`
                self.run_map.close()
        super().close()
