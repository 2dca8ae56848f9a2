"""The PC's loop, with a vCPU that plays exits: each reaches its device, known or not."""

from __future__ import annotations

import mmap
from contextlib import closing

import pytest

from kvmabi import uapi
from kvmabi.kvm import vcpu
from kvmabi.kvm.vcpu import EXIT_QUADS, Vcpu, run_offset
from kvmabi.vmm.bus import Bus
from kvmabi.vmm.pc.loop import MOST_KNOWN, Answers, serve_exits
from kvmabi.vmm.pc.power import PmTimer
from kvmabi.vmm.seat import IO_EXIT, MMIO_EXIT
from kvmabi.vmm.testdev import Hits

DATA_PAGE = 4096


class Device:
    def __init__(self) -> None:
        self.seen: list[tuple[int, bytes]] = []

    def read(self, offset: int, size: int) -> bytes:
        self.seen.append((offset, b""))
        return bytes(range(offset, offset + size))

    def write(self, offset: int, data: bytes) -> None:
        self.seen.append((offset, data))


class Player:
    """Stands for a vCPU: each KVM_RUN puts the next exit into `kvm_run`."""

    fd = -1

    def __init__(self, exits) -> None:
        self.run_map = mmap.mmap(-1, 2 * DATA_PAGE)
        self.run_bytes = memoryview(self.run_map)
        self.run_words, self.run_quads = self.run_bytes.cast("I"), self.run_bytes.cast("Q")
        self.exit_quads = self.run_quads[EXIT_QUADS]
        self._exits = iter(exits)

    def run_while_known(self, known, last) -> None:
        """The vCPU's own loop, with another KVM_RUN."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vcpu, "ioctl", self.enter)
            Vcpu.run_while_known(self, known, last)

    def enter(self, fd: int, request: int) -> int:
        assert (fd, request) == (self.fd, uapi.KVM_RUN)
        play = next(self._exits)
        if isinstance(play, OSError):
            raise play
        play(self)
        return 0

    def put(self, reason: int, at: int = 0, body: bytes = b"") -> None:
        self.run_words[run_offset("exit_reason") >> 2] = reason
        self.run_map[at : at + len(body)] = body


def mmio(address: int, data: bytes, *, write: bool = True):
    body = MMIO_EXIT.pack(address, data.ljust(8, b"\xee"), len(data), write)
    return lambda player: player.put(uapi.KVM_EXIT_MMIO, run_offset("mmio"), body)


def pio(port: int, size: int, data: bytes, *, write: bool = True):
    def play(player: Player) -> None:
        body = IO_EXIT.pack(write, size, port, len(data) // size, DATA_PAGE)
        player.put(uapi.KVM_EXIT_IO, run_offset("io"), body)
        player.run_map[DATA_PAGE : DATA_PAGE + len(data)] = data

    return play


def halt(player: Player) -> None:
    player.put(uapi.KVM_EXIT_HLT)


def never(error: OSError) -> None:
    raise AssertionError("nothing interrupts here") from error


@pytest.fixture
def buses():
    return Bus("mmio"), Bus("pio")


def serve(buses, *exits, interrupted=never) -> Player:
    player = Player([*exits, halt])
    assert serve_exits(player, *buses, interrupted) == uapi.KVM_EXIT_HLT
    return player


def test_mmio_writes_and_port_writes_reach_their_devices_again_and_again(buses) -> None:
    memory, ports = Device(), Device()
    buses[0].attach(0x1000, 0x100, memory)
    buses[1].attach(0x80, 8, ports)
    serve(
        buses,
        *(mmio(0x1004, b"ab"), mmio(0x1004, b"ab"), mmio(0x1004, b"cd"), mmio(0x1004, b"a")),
        *(pio(0x81, 1, b"x"), pio(0x81, 1, b"y"), pio(0x81, 2, b"zz"), pio(0x82, 1, b"z")),
    )
    assert memory.seen == [(4, b"ab"), (4, b"ab"), (4, b"cd"), (4, b"a")]
    assert ports.seen == [(1, b"x"), (1, b"y"), (1, b"zz"), (2, b"z")]


def test_reads_are_answered_each_time(buses) -> None:
    memory, ports = Device(), Device()
    buses[0].attach(0x1000, 0x100, memory)
    buses[1].attach(0x80, 8, ports)
    read = pio(0x82, 2, b"\0\0", write=False)
    player = serve(buses, mmio(0x1003, b"\0\0", write=False), read, read)
    assert player.run_map[DATA_PAGE : DATA_PAGE + 2] == b"\x02\x03"
    assert memory.seen == [(3, b"")]
    assert ports.seen == [(2, b""), (2, b"")]


def test_string_writes_come_element_by_element(buses) -> None:
    ports = Device()
    buses[1].attach(0x80, 8, ports)
    serve(buses, pio(0x80, 2, b"aabbcc"), pio(0x80, 2, b"aabbcc"))
    assert ports.seen == [(0, b"aa"), (0, b"bb"), (0, b"cc")] * 2


@pytest.mark.parametrize("play", [mmio(0x1010, b"x"), pio(0x90, 1, b"x")], ids=["mmio", "pio"])
def test_what_is_counted_is_not_given_to_the_device_until_that_ends(buses, play) -> None:
    device, hits = Device(), Hits()
    buses[0].attach(0x1000, 0x100, device)
    buses[1].attach(0x80, 0x20, device)

    def count(address: int, bus: Bus, steps) -> None:
        bus.count_hits(address, 1, steps)

    def both(steps) -> None:
        count(0x1010, buses[0], steps)
        count(0x90, buses[1], steps)

    both(hits.steps)
    serve(buses, play, play, play, mmio(0x1010, b"xx"), lambda player: (both(None), play(player)))
    assert hits.count == 3
    assert device.seen == [(0x10, b"xx"), (0x10, b"x")]


@pytest.mark.parametrize("play", [mmio(0x1010, b"x"), pio(0x90, 1, b"x")], ids=["mmio", "pio"])
def test_a_change_is_heard_of_between_two_exits_that_are_the_same(buses, play) -> None:
    device, hits = Device(), Hits()
    for bus, start, address in zip(buses, (0x1000, 0x80), (0x1010, 0x90), strict=True):
        bus.attach(start, 0x100, device)
        bus.count_hits(address, 1, hits.steps)

    def end(player: Player) -> None:  # as another vCPU would, while this one is in KVM_RUN
        for bus, address in zip(buses, (0x1010, 0x90), strict=True):
            bus.count_hits(address, 1, None)
        play(player)

    serve(buses, play, play, play, end, play)
    assert hits.count == 3
    assert device.seen == [(0x10, b"x")] * 2


def test_exits_in_turn_are_each_answered_by_their_own(buses) -> None:
    one, two = Hits(), Hits()
    buses[0].count_hits(0x1000, 1, one.steps)
    buses[0].count_hits(0x1001, 1, two.steps)
    first, second = mmio(0x1000, b"x"), mmio(0x1001, b"x")
    serve(buses, *(first, second) * 5, first, first, second)
    assert (one.count, two.count) == (7, 6)


def test_a_read_is_told_from_a_write_of_the_same_bytes(buses) -> None:
    device, hits = Device(), Hits()
    buses[0].attach(0x1000, 0x100, device)
    buses[0].count_hits(0x1010, 1, hits.steps)
    write, read = (mmio(0x1010, b"x", write=write) for write in (True, False))
    serve(buses, write, write, read, write)
    assert hits.count == 3
    assert device.seen == [(0x10, b"")]


def test_an_answer_that_has_ended_is_not_taken_for_one() -> None:
    player = Player([mmio(0x1000, b"x")] * 2)
    last = memoryview(bytearray(player.exit_quads.nbytes)).cast("Q")
    mmio(0x1000, b"x")(player)
    known = {player.exit_quads.tobytes(): iter([None])}
    player.run_while_known(known, last)
    assert list(player._exits) == []  # one step, one KVM_RUN, and back at the second exit


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_a_clock_is_read_as_its_device_reads(buses, size: int, offset: int) -> None:
    if offset + size > 4:
        return
    now = iter(range(10**15, 10**18, 123_456_789))
    timer, same = PmTimer(lambda: next(now)), PmTimer(lambda: next(again))
    again = iter(range(10**15, 10**18, 123_456_789))
    buses[1].attach(0x608, 4, timer)
    seen: list[bytes] = []

    def look(player: Player) -> None:
        seen.append(player.run_map[DATA_PAGE : DATA_PAGE + size])
        player.put(uapi.KVM_EXIT_HLT)

    read = pio(0x608 + offset, size, bytes(size), write=False)
    player = Player([read, read, read, look])
    serve_exits(player, *buses, never)
    assert seen == [[same.read(offset, size) for _ in range(3)][-1]]


def test_a_detached_device_gets_nothing_more(buses) -> None:
    device = Device()
    buses[1].attach(0x80, 8, device)
    write = pio(0x80, 1, b"x")
    serve(buses, write, write, lambda player: (buses[1].detach(0x80, device), write(player)))
    assert len(device.seen) == 2
    assert len(buses[1].unclaimed) == 1


def test_exits_without_an_end_do_not_pile_up(buses) -> None:
    player = Player([])
    with closing(Answers(player, *buses)) as answers:
        for port in range(3 * MOST_KNOWN):
            pio(port, 1, b"x")(player)
            assert answers.serve()
        assert 0 < len(answers.known) <= MOST_KNOWN
    assert buses[0].on_change == buses[1].on_change == []


def test_a_signal_goes_to_who_asked_and_the_loop_goes_on(buses) -> None:
    seen: list[OSError] = []
    error = OSError(4, "interrupted")
    serve(buses, error, error, interrupted=seen.append)
    assert seen == [error, error]


def test_what_a_device_raises_comes_out(buses) -> None:
    class Broken(Device):
        def write(self, offset: int, data: bytes) -> None:
            raise ZeroDivisionError

    buses[1].attach(0x80, 8, Broken())
    with pytest.raises(ZeroDivisionError):
        serve(buses, pio(0x80, 1, b"x"))
    assert buses[1].on_change == []
