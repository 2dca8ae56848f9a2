"""The run loop over exits that are played to it, and the host's side of a mailbox."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from kvmabi import uapi
from kvmabi.errors import GuestCrash, GuestError, GuestTimeout, IoctlError, UsageError
from kvmabi.guest import mailbox
from kvmabi.kvm.vcpu import run_offset
from kvmabi.vmm import Access, layout
from kvmabi.vmm.bus import Bus
from kvmabi.vmm.requests import Requests
from kvmabi.vmm.seat import IO_EXIT, MAX_UNKNOWN_EXITS, MMIO_EXIT, Seat

GPA = layout.mailbox_gpa(0)
STORE = Access("mmio", 0x8000_0000, 4, True, 1)
Step = Callable[["FakeVcpu"], int]


class FakeGuard:
    expired = False

    def arm(self, deadline: float) -> None:
        self.deadline = deadline

    def disarm(self) -> None:
        self.deadline = None


class FakeVcpu:
    """Plays the steps of a script, one a KVM_RUN, and then halts for ever."""

    index = 0

    def __init__(self, *script: Step) -> None:
        self.run = bytearray(3 * 4096)
        self.run_bytes = memoryview(self.run)
        self.run_words = self.run_bytes.cast("I")
        self.guard = FakeGuard()
        self.script = list(script)
        self.box = bytearray(mailbox.MAILBOX_BYTES)
        self.set_box(mailbox.STATUS, mailbox.Status.READY)

    def try_run(self) -> int:
        return self.script.pop(0)(self) if self.script else self.leave(uapi.KVM_EXIT_HLT)

    def leave(self, reason: int) -> int:
        self.run_words[run_offset("exit_reason") >> 2] = reason
        self.set_box(mailbox.CURRENT, 0)
        return 0

    def set_box(self, offset: int, value: int) -> None:
        self.box[offset : offset + 4] = value.to_bytes(4, "little")

    def run_error(self, error: int, seconds: float) -> Exception:
        if self.guard.expired:
            return GuestTimeout("late", seconds=seconds)
        return IoctlError(error, "KVM_RUN", "vCPU")

    def get_regs(self) -> uapi.kvm_regs:
        return uapi.kvm_regs()

    def get_sregs(self) -> uapi.kvm_sregs:
        return uapi.kvm_sregs()


def exits(reason: int, at: int = 0, data: bytes = b"", *, current: int = 0) -> Step:
    """A KVM_RUN that returns for this reason, with these bytes in kvm_run."""

    def step(vcpu: FakeVcpu) -> int:
        vcpu.leave(reason)
        vcpu.run[at : at + len(data)] = data
        vcpu.set_box(mailbox.CURRENT, current)
        return 0

    return step


def fails(error: int) -> Step:
    return lambda _: error


def request_gpa(index: int) -> int:
    return GPA + mailbox.REQUESTS + index * mailbox.REQUEST.size


def seat_of(*script: Step) -> Seat:
    vcpu = FakeVcpu(*script)
    return Seat(vcpu, Requests(memoryview(vcpu.box), GPA), Bus("mmio"), Bus("pio"))


def test_the_structs_are_those_of_kvm_run() -> None:
    mmio, io = type(uapi.kvm_run().mmio), type(uapi.kvm_run().io)
    assert (mmio.phys_addr.offset, mmio.data.offset) == (0, 8)
    assert (mmio.len.offset, mmio.is_write.offset) == (16, 20)
    made = mmio.from_buffer_copy(MMIO_EXIT.pack(1, b"12345678", 2, 3).ljust(24, b"\0"))
    assert (made.phys_addr, bytes(made.data), made.len, made.is_write) == (1, b"12345678", 2, 3)
    port = io.from_buffer_copy(IO_EXIT.pack(1, 2, 3, 4, 5))
    assert (port.direction, port.size, port.port, port.count, port.data_offset) == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("count", [1, 3, 1024])
def test_a_port_exit_of_many_elements_is_many_exits(count: int) -> None:
    header = IO_EXIT.pack(uapi.KVM_EXIT_IO_OUT, 2, 0x500, count, 4096)
    data = bytes(at & 0xFF for at in range(2 * count))
    step = exits(uapi.KVM_EXIT_IO, run_offset("io"), header, current=request_gpa(0))

    def play(vcpu: FakeVcpu) -> int:
        vcpu.run[4096 : 4096 + len(data)] = data
        return step(vcpu)

    made = seat_of(play).perform([STORE], 1.0, timed=False).exits
    assert len(made) == count
    assert b"".join(one.data for one in made) == data
    assert {(one.address, one.width, one.write) for one in made} == {(0x500, 2, True)}


def test_a_read_is_answered_in_kvm_run() -> None:
    mmio = MMIO_EXIT.pack(0x8000_0000, bytes(8), 4, 0)
    seat = seat_of(exits(uapi.KVM_EXIT_MMIO, run_offset("mmio"), mmio))
    [made] = seat.perform([STORE], 1.0, timed=False).exits
    assert (made.write, made.data) == (False, b"\xff" * 4)
    data_at = run_offset("mmio") + 8
    assert seat.vcpu.run[data_at : data_at + 8] == b"\xff\xff\xff\xff\0\0\0\0"


@pytest.mark.parametrize(
    ("current", "index"),
    [
        (0, -1),
        (request_gpa(0), 0),
        (request_gpa(1), 1),
        (request_gpa(2), -1),
        (GPA, -1),
        (0xFFFF_FFFF, -1),
    ],
)
def test_the_access_of_an_exit_is_checked(current: int, index: int) -> None:
    mmio = MMIO_EXIT.pack(0x8000_0000, bytes(8), 4, 1)
    seat = seat_of(exits(uapi.KVM_EXIT_MMIO, run_offset("mmio"), mmio, current=current))
    [made] = seat.perform([STORE, STORE], 1.0, timed=False).exits
    assert made.access == index


def test_unknown_exits_are_recorded_and_not_fatal() -> None:
    seat = seat_of(exits(12345), exits(uapi.KVM_EXIT_INTR, current=request_gpa(0)))
    made = seat.perform([STORE], 1.0, timed=False).exits
    assert [(one.access, one.reason, one.bus) for one in made] == [
        (-1, 12345, ""),
        (0, uapi.KVM_EXIT_INTR, ""),
    ]


def test_unknown_exits_without_end_are_a_crash() -> None:
    seat = seat_of(*[exits(12345)] * MAX_UNKNOWN_EXITS)
    with pytest.raises(GuestCrash, match="exit reason 12345, time and again"):
        seat.perform([STORE], 1.0, timed=False)


@pytest.mark.parametrize("name", ["SHUTDOWN", "INTERNAL_ERROR", "FAIL_ENTRY"])
def test_a_crash_names_itself_and_loses_the_guest(name: str) -> None:
    seat = seat_of(exits(getattr(uapi, f"KVM_EXIT_{name}")))
    with pytest.raises(GuestCrash, match=rf"KVM_EXIT_{name} on vCPU 0 \(rip=0x0"):
        seat.perform([STORE], 1.0, timed=False)
    with pytest.raises(GuestError, match="is lost"):
        seat.perform([STORE], 1.0, timed=False)


@pytest.mark.parametrize("error", [errno.EINTR, errno.EAGAIN])
def test_interrupted_runs_go_on(error: int) -> None:
    seat = seat_of(fails(error), fails(error))
    assert seat.perform([STORE], 1.0, timed=False).exits == []
    assert seat.vcpu.script == []


def test_other_errors_do_not() -> None:
    with pytest.raises(IoctlError, match="EFAULT"):
        seat_of(fails(errno.EFAULT)).perform([STORE], 1.0, timed=False)


def test_an_interrupted_run_past_its_deadline_is_a_timeout() -> None:
    seat = seat_of(fails(errno.EINTR))
    seat.vcpu.guard.expired = True
    with pytest.raises(GuestTimeout):
        seat.perform([STORE], 1.0, timed=False)


def test_the_guard_is_disarmed_whatever_happens() -> None:
    seat = seat_of()
    seat.perform([STORE], 1.0, timed=False)
    assert seat.vcpu.guard.deadline is None
    seat = seat_of(exits(uapi.KVM_EXIT_SHUTDOWN))
    with pytest.raises(GuestCrash):
        seat.perform([STORE], 1.0, timed=False)
    assert seat.vcpu.guard.deadline is None


def test_a_halt_in_the_middle_of_a_batch_is_seen() -> None:
    seat = seat_of(exits(uapi.KVM_EXIT_HLT, current=request_gpa(1)))
    with pytest.raises(GuestError, match="halted at request 1 of 2"):
        seat.perform([STORE, STORE], 1.0, timed=False)


@pytest.mark.parametrize(("status", "name"), [(2, "NO_DEVICE"), (3, "ODD_BARS"), (99, "99")])
def test_a_guest_that_did_not_start_says_why(status: int, name: str) -> None:
    seat = seat_of()
    seat.vcpu.set_box(mailbox.STATUS, status)
    with pytest.raises(GuestError, match=f"status {name}"):
        seat.perform([STORE], 1.0, timed=False)


def test_accesses_that_were_not_made_are_not_done() -> None:
    [outcome] = seat_of().perform([STORE], 1.0, timed=False).outcomes
    assert (outcome.done, outcome.landing) == (False, 0)


def test_no_accesses_enter_no_guest() -> None:
    seat = seat_of(fails(errno.EFAULT))
    assert seat.perform([], 1.0, timed=False).exits == []


def test_a_refused_access_enters_no_guest_and_loses_nothing() -> None:
    seat = seat_of(fails(errno.EFAULT))
    with pytest.raises(UsageError):
        seat.perform([STORE, STORE._replace(width=16)], 1.0, timed=False)
    assert len(seat.vcpu.script) == 1
