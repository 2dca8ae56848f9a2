"""The exerciser's machine on the real KVM: what a guest does, and what comes of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from kvmabi import uapi
from kvmabi.errors import GuestCrash, GuestError, GuestTimeout, IoctlError, UsageError
from kvmabi.guest import encodings, mailbox
from kvmabi.kvm import System
from kvmabi.vmm import Access, ExerciserMachine, Exit, layout, requests

pytestmark = pytest.mark.kvm

MMIO, PIO = "mmio", "pio"
DATA = 0x8877_6655_4433_2211
NOWHERE = 0xC000_0000
"""A gpa where no device is."""
NO_PORT = 0x5000


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System.open() as opened:
        yield opened


@pytest.fixture(scope="module")
def machine(system: System) -> Iterator[ExerciserMachine]:
    with ExerciserMachine(system) as booted:
        yield booted


def exit_of(access: Access, index: int = 0, data: bytes | None = None) -> Exit:
    """The one exit that a plain access must make."""
    reason = uapi.KVM_EXIT_MMIO if access.bus == MMIO else uapi.KVM_EXIT_IO
    if data is None:
        mask = (1 << 8 * access.width) - 1
        data = (access.data & mask).to_bytes(access.width, "little")
    return Exit(index, reason, access.bus, access.address, access.width, access.write, data)


WIDTHS = [(MMIO, 1), (MMIO, 2), (MMIO, 4), (MMIO, 8), (PIO, 1), (PIO, 2), (PIO, 4)]


@pytest.mark.parametrize(("bus", "width"), WIDTHS)
def test_a_plain_write_exits_once_with_its_data(machine, bus: str, width: int) -> None:
    access = Access(bus, NOWHERE if bus == MMIO else NO_PORT, width, True, DATA)
    batch = machine.perform([access])
    assert batch.exits == [exit_of(access)]
    assert batch.outcomes[0].done
    assert batch.outcomes[0].landing == mailbox.LANDING_PADS
    assert batch.outcomes[0].value == DATA  # the accumulator is left alone


@pytest.mark.parametrize(("bus", "width"), WIDTHS)
def test_a_read_of_nothing_gives_all_ones(machine, bus: str, width: int) -> None:
    access = Access(bus, NOWHERE if bus == MMIO else NO_PORT, width, False)
    batch = machine.perform([access])
    assert batch.exits == [exit_of(access, data=b"\xff" * width)]
    assert batch.outcomes[0].value == (1 << 8 * width) - 1
    assert batch.outcomes[0].landing == mailbox.LANDING_PADS


def test_unknown_accesses_are_recorded(machine) -> None:
    machine.perform([Access(MMIO, NOWHERE + 64, 2), Access(PIO, NO_PORT + 1, 1, False)])
    assert machine.mmio.unclaimed[-1] == (NOWHERE + 64, 2, True)
    assert machine.pio.unclaimed[-1] == (NO_PORT + 1, 1, False)


@pytest.mark.parametrize("gpa", [0, 5, 0xF_FFF8, layout.BAR0_GPA - 8, (1 << 32) + layout.BAR0_GPA])
def test_any_unbacked_address_can_be_hit(machine, gpa: int) -> None:
    access = Access(MMIO, gpa, 8, True, DATA)
    assert machine.perform([access]).exits == [exit_of(access)]


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("write", [True, False])
def test_a_straddling_access_exits_once_a_page(machine, width: int, write: bool) -> None:
    for first in range(1, width):
        address = NOWHERE + 4096 - first
        batch = machine.perform([Access(MMIO, address, width, write, DATA)])
        places = [(one.address, one.width, one.write) for one in batch.exits]
        assert places == [(address, first, write), (NOWHERE + 4096, width - first, write)]
        if write:
            whole = b"".join(one.data for one in batch.exits)
            assert whole == DATA.to_bytes(8, "little")[:width]
        else:
            kept = DATA if width == 2 else 0  # a load of 4 bytes or more fills all of rax
            assert batch.outcomes[0].value == kept | (1 << 8 * width) - 1


def test_an_unaligned_access_within_a_page_exits_once(machine) -> None:
    access = Access(MMIO, NOWHERE + 3, 8, True, DATA)
    assert machine.perform([access]).exits == [exit_of(access)]


@pytest.mark.parametrize(("bus", "width"), WIDTHS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_string_write_exits_once_an_element(machine, bus: str, width: int, count: int) -> None:
    values = tuple((DATA >> at) & (1 << 8 * width) - 1 for at in range(count))
    start = NOWHERE if bus == MMIO else NO_PORT
    batch = machine.perform([Access(bus, start, width, True, values=values)])
    step = width if bus == MMIO else 0
    assert [(one.address, one.width, one.data) for one in batch.exits] == [
        (start + at * step, width, value.to_bytes(width, "little"))
        for at, value in enumerate(values)
    ]
    assert all(one.write and one.access == 0 for one in batch.exits)
    assert batch.outcomes[0].landing == mailbox.LANDING_PADS


class Counter:
    """A device that answers each read with another number."""

    def __init__(self) -> None:
        self.next = 1

    def read(self, offset: int, size: int) -> bytes:
        self.next += 1
        return ((self.next << 8 | offset) & (1 << 8 * size) - 1).to_bytes(size, "little")

    def write(self, offset: int, data: bytes) -> None:
        raise AssertionError(f"{offset}: {data!r}")


@pytest.mark.parametrize(("bus", "width"), WIDTHS)
def test_a_string_read_brings_its_elements(machine, bus: str, width: int) -> None:
    space = machine.mmio if bus == MMIO else machine.pio
    start, counter = (NOWHERE if bus == MMIO else NO_PORT), Counter()
    space.attach(start, 256, counter)
    try:
        batch = machine.perform([Access(bus, start, width, False, values=(0,) * 5)])
    finally:
        space.detach(start, counter)
    assert len(batch.exits) == 5
    answered = tuple(int.from_bytes(one.data, "little") for one in batch.exits)
    assert batch.outcomes[0].values == answered
    assert len(set(answered)) == (5 if width > 1 or bus == MMIO else 1)
    assert batch.outcomes[0].landing == mailbox.LANDING_PADS


@pytest.mark.parametrize(("bus", "width"), WIDTHS)
def test_stores_of_every_instruction_length(machine, bus: str, width: int) -> None:
    start = NOWHERE if bus == MMIO else NO_PORT
    accesses = [
        Access(bus, start, width, True, DATA + length, insn=length)
        for length in encodings.lengths(bus, width)
    ]
    batch = machine.perform(accesses)
    assert batch.exits == [exit_of(access, at) for at, access in enumerate(accesses)]
    assert {one.landing for one in batch.outcomes} == {mailbox.LANDING_PADS}


@pytest.mark.parametrize("skipped", range(1, 16))
@pytest.mark.parametrize("timed", [False, True])
def test_landing_too_far_is_seen(machine, monkeypatch, skipped: int, timed: bool) -> None:
    """In place of a store stands a jump over as many bytes as KVM would skip too many."""
    jump = bytes([0xEB, skipped])
    monkeypatch.setattr(requests.encodings, "store_of_length", lambda *_: jump)
    odd = Access(MMIO, NOWHERE, 4, True, 1, insn=2)
    batch = machine.perform([odd, Access(MMIO, NOWHERE, 4, True, 2), odd], timed=timed)
    assert [one.landing for one in batch.outcomes] == [16 - skipped, 16, 16 - skipped]
    assert all(one.done for one in batch.outcomes)
    assert [one.access for one in batch.exits] == [1]


def test_cycles_are_taken_where_asked_for(machine) -> None:
    access = Access(MMIO, NOWHERE, 4)
    assert machine.perform([access], timed=True).outcomes[0].cycles > 0
    assert machine.perform([access]).outcomes[0].cycles == 0


@pytest.mark.parametrize("count", [0, 1, mailbox.BATCH, mailbox.BATCH + 1, 200])
def test_batches_of_any_size_keep_order_and_index(machine, count: int) -> None:
    accesses = [Access(MMIO, NOWHERE + 4 * at, 4, True, at) for at in range(count)]
    batch = machine.perform(accesses)
    assert batch.exits == [exit_of(access, at) for at, access in enumerate(accesses)]
    assert len(batch.outcomes) == count


def test_strings_that_fill_the_buffer_several_times(machine) -> None:
    values = tuple(range(1000))
    accesses = [Access(PIO, NO_PORT, 2, at % 2 == 0, values=values) for at in range(7)]
    batch = machine.perform(accesses)
    assert [one.access for one in batch.exits] == [at for at in range(7) for _ in values]
    written = [int.from_bytes(one.data, "little") for one in batch.exits if one.write]
    assert written == [*values] * 4
    assert batch.outcomes[1].values == (0xFFFF,) * 1000


BAD = {
    "no bus": Access("isa", 0, 1),
    "no width": Access(MMIO, 0, 3),
    "no port of 8 bytes": Access(PIO, 0, 8),
    "16 bytes": Access(MMIO, NOWHERE, 16),
    "own memory": Access(MMIO, layout.RAM_GPA, 4),
    "into own memory": Access(MMIO, layout.RAM_GPA - 4, 8),
    "end of own memory": Access(MMIO, layout.RAM_END - 1, 1, False),
    "string into own memory": Access(MMIO, layout.RAM_GPA - 8, 4, values=(1, 2, 3)),
    "beyond the map": Access(MMIO, layout.MAPPED_BYTES, 1),
    "negative": Access(MMIO, -1, 1),
    "no such port": Access(PIO, 0x1_0000, 1),
    "too long": Access(PIO, NO_PORT, 4, values=(0,) * 1025),
    "element too wide": Access(PIO, NO_PORT, 1, values=(256,)),
    "no such length": Access(MMIO, NOWHERE, 8, insn=2),
    "16 bytes long": Access(MMIO, NOWHERE, 4, insn=16),
    "length of a read": Access(MMIO, NOWHERE, 4, False, insn=4),
    "length of a string": Access(MMIO, NOWHERE, 4, values=(1,), insn=4),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_guest_must_not_do_is_refused(machine, name: str) -> None:
    with pytest.raises(UsageError):
        machine.perform([BAD[name]])
    good = Access(MMIO, NOWHERE, 4)
    assert machine.perform([good]).exits == [exit_of(good)]  # and the machine lives on


def test_data_wider_than_the_access_are_cut(machine) -> None:
    for data in (1 << 70 | 0x1234, -1):
        access = Access(MMIO, NOWHERE, 2, True, data)
        assert machine.perform([access]).exits == [exit_of(access)]


def ioeventfd(address: int, fd: int, flags: int = 0, length: int = 4) -> uapi.kvm_ioeventfd:
    arg = uapi.kvm_ioeventfd()
    arg.addr, arg.fd, arg.flags, arg.len = address, fd, flags, length
    return arg


@pytest.mark.parametrize(("bus", "address"), [(MMIO, NOWHERE), (PIO, NO_PORT)])
def test_an_ioeventfd_takes_the_writes_that_match(machine, bus: str, address: int) -> None:
    flags = uapi.KVM_IOEVENTFD_FLAG_PIO if bus == PIO else 0
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    machine.vm.ioeventfd(ioeventfd(address, fd, flags))
    hit, miss = Access(bus, address, 4, True, 7), Access(bus, address, 2, True, 7)
    try:
        batch = machine.perform([hit, hit, miss, hit])
        assert os.eventfd_read(fd) == 3
        assert batch.exits == [exit_of(miss, 2)]
        assert {one.landing for one in batch.outcomes} == {mailbox.LANDING_PADS}
    finally:
        deassign = ioeventfd(address, fd, flags | uapi.KVM_IOEVENTFD_FLAG_DEASSIGN)
        assert machine.vm.try_ioeventfd(deassign) == 0
    batch = machine.perform([hit])
    assert batch.exits == [exit_of(hit)]
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fd)
    os.close(fd)


def test_a_refused_ioeventfd_gives_errno_or_raises(machine) -> None:
    arg = ioeventfd(NOWHERE, 0, length=3)
    assert machine.vm.try_ioeventfd(arg) == 22
    with pytest.raises(IoctlError, match="KVM_IOEVENTFD on the VM fd: EINVAL"):
        machine.vm.ioeventfd(arg)


def test_an_instruction_that_kvm_cannot_run_is_a_crash(system, monkeypatch) -> None:
    ud2 = bytes.fromhex("0f 0b")
    monkeypatch.setattr(requests.encodings, "store_of_length", lambda *_: ud2)
    with ExerciserMachine(system) as machine:
        with pytest.raises(GuestCrash, match=r"KVM_EXIT_\w+ on vCPU 0 \(rip="):
            machine.perform([Access(MMIO, NOWHERE, 4, insn=2)])
        with pytest.raises(GuestError, match="is lost"):
            machine.perform([Access(MMIO, NOWHERE, 4)])


def test_a_guest_that_hangs_is_a_timeout(system, monkeypatch) -> None:
    loop = bytes.fromhex("eb fe")
    monkeypatch.setattr(requests.encodings, "store_of_length", lambda *_: loop)
    with ExerciserMachine(system) as machine:
        with pytest.raises(GuestTimeout):
            machine.perform([Access(MMIO, NOWHERE, 4, insn=2)], deadline_s=0.1)
        with pytest.raises(GuestError, match="is lost"):
            machine.perform([Access(MMIO, NOWHERE, 4)])


def test_two_vcpus_in_two_threads(system) -> None:
    with ExerciserMachine(system, vcpus=2) as machine:
        batches = {}

        def work(vcpu: int) -> None:
            accesses = [Access(MMIO, NOWHERE + 8 * vcpu, 4, True, at) for at in range(300)]
            batches[vcpu] = (accesses, machine.perform(accesses, vcpu=vcpu))

        threads = [threading.Thread(target=work, args=(vcpu,)) for vcpu in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for accesses, batch in batches.values():
            assert batch.exits == [exit_of(access, at) for at, access in enumerate(accesses)]
        assert len(batches) == machine.vcpus == 2


def test_the_signals_of_two_vcpus_add_up(system) -> None:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    with ExerciserMachine(system, vcpus=2) as machine:
        machine.vm.ioeventfd(ioeventfd(NOWHERE, fd))
        work = [Access(MMIO, NOWHERE, 4)] * 500
        threads = [
            threading.Thread(target=machine.perform, args=(work,), kwargs={"vcpu": vcpu})
            for vcpu in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert os.eventfd_read(fd) == 1000
    os.close(fd)


@pytest.mark.parametrize("vcpus", [0, layout.MAX_VCPUS + 1])
def test_no_vcpus_and_too_many_are_refused(system, vcpus: int) -> None:
    with pytest.raises(UsageError, match="vCPUs"):
        ExerciserMachine(system, vcpus=vcpus)


def test_all_vcpus_work(system) -> None:
    with ExerciserMachine(system, vcpus=layout.MAX_VCPUS) as machine:
        for vcpu in range(machine.vcpus):
            access = Access(MMIO, NOWHERE, 4, True, vcpu)
            assert machine.perform([access], vcpu=vcpu).exits == [exit_of(access)]


def held() -> tuple[int, int]:
    """How many fds, and how many mappings of vCPUs, this process has."""
    maps = Path("/proc/self/maps").read_text()
    return len(list(Path("/proc/self/fd").iterdir())), maps.count("kvm-vcpu")


def test_closing_gives_everything_back(system) -> None:
    before = held()
    for _ in range(5):
        machine = ExerciserMachine(system, vcpus=2)
        assert held() > before
        machine.close()
        machine.close()
    assert held() == before


def test_a_machine_that_boots_badly_gives_everything_back(system, monkeypatch) -> None:
    monkeypatch.setattr(mailbox, "MAGIC", 0)
    before = held()
    with pytest.raises(GuestError, match=r"the guest found \{.magic"):
        ExerciserMachine(system)
    assert held() == before


def test_stores_of_16_bytes_on_a_machine_for_them(system) -> None:
    """Nothing is registered on this VM, and the store stays in its page: harmless everywhere."""
    data = DATA << 64 | 0x0123_4567_89AB_CDEF
    with ExerciserMachine(system, hazardous=True) as machine:
        batch = machine.perform([Access(MMIO, NOWHERE, 16, True, data)])
    assert [(one.address, one.width) for one in batch.exits] == [(NOWHERE, 8), (NOWHERE + 8, 8)]
    assert b"".join(one.data for one in batch.exits) == data.to_bytes(16, "little")
    assert batch.outcomes[0].landing == mailbox.LANDING_PADS


def test_two_threads_can_make_an_access_run_in_turn(machine: ExerciserMachine) -> None:
    """The parts of one write that straddles a page, each finished by another thread."""
    end = layout.BAR0_GPA + 4096
    write = Access(MMIO, end - 3, 8, data=DATA)
    seen: list[int] = []
    seat = machine._seats[0]
    real = seat.vcpu.try_run

    def try_run() -> int:
        seen.append(threading.get_native_id())
        return real()

    seat.vcpu.try_run = try_run  # type: ignore[method-assign]
    try:
        batch = machine.perform([write], handover=True)
    finally:
        del seat.vcpu.try_run
    assert len(set(seen)) == 2
    assert all(one != two for one, two in pairwise(seen))
    raw = DATA.to_bytes(8, "little")
    assert [(each.address, each.data) for each in batch.exits] == [
        (end - 3, raw[:3]),
        (end, raw[3:]),
    ]
