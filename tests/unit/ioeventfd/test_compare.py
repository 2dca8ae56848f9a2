"""What `compare` must notice; each test breaks one thing that a guest run shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvmabi import uapi
from kvmabi.guest.mailbox import LANDING_PADS
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.compare import compare_count, compare_run
from kvmabi.ioeventfd.contract import Bus, ExpectedExit, Reaction
from kvmabi.ioeventfd.oracle import Expected
from kvmabi.ioeventfd.steps import ACCUMULATOR, Access, Base, GuestRun, Place
from kvmabi.vmm import Batch, Exit, Outcome

ADDRESS = 0xE000_0800
PLACE = Place(Base.BAR0, 0x800)
WRITE = Access(Bus.MMIO, PLACE, 4, (0xDEADBEEF,))
READ = Access(Bus.MMIO, PLACE, 2, write=False)
STEP = GuestRun((WRITE, READ))
EXPECTED = Expected(
    (
        Reaction((), (ExpectedExit(Bus.MMIO, ADDRESS, 4, 0xDEADBEEF),), promises.EXIT),
        Reaction((), (ExpectedExit(Bus.MMIO, ADDRESS, 2, None),), promises.READ),
    )
)
WRITE_EXIT = Exit(
    0, uapi.KVM_EXIT_MMIO, "mmio", ADDRESS, 4, True, (0xDEADBEEF).to_bytes(4, "little")
)
READ_EXIT = Exit(1, uapi.KVM_EXIT_MMIO, "mmio", ADDRESS, 2, False, b"\x34\x12")
WROTE = Outcome(done=True, landing=LANDING_PADS, cycles=9, value=0xDEAD_BEEF)
READ_ON = WROTE._replace(value=ACCUMULATOR & ~0xFFFF | 0x1234)


def batch(exits: list[Exit], outcomes: list[Outcome] | None = None) -> Batch:
    return Batch(exits, outcomes or [WROTE, READ_ON])


def promises_broken(seen: Batch) -> list[int]:
    return [each.promise for each in compare_run(STEP, EXPECTED, seen)]


def test_what_is_as_promised_is_silent() -> None:
    assert promises_broken(batch([WRITE_EXIT, READ_EXIT])) == []


@pytest.mark.parametrize(
    "broken",
    [
        WRITE_EXIT._replace(address=ADDRESS + 1),
        WRITE_EXIT._replace(width=2),
        WRITE_EXIT._replace(write=False),
        WRITE_EXIT._replace(bus="pio"),
        WRITE_EXIT._replace(data=b"\0\0\0\0"),
    ],
    ids=["address", "width", "direction", "bus", "data"],
)
def test_every_field_of_an_exit_counts(broken: Exit) -> None:
    assert promises_broken(batch([broken, READ_EXIT])) == [promises.EXIT]


def test_a_missing_exit_is_noticed() -> None:
    assert promises_broken(batch([READ_EXIT])) == [promises.EXIT]
    assert promises_broken(batch([WRITE_EXIT])) == [promises.READ]


def test_an_exit_too_many_is_noticed() -> None:
    assert promises_broken(batch([WRITE_EXIT, READ_EXIT, READ_EXIT])) == [promises.READ]
    stray = WRITE_EXIT._replace(access=-1)
    assert promises_broken(batch([WRITE_EXIT, READ_EXIT, stray])) == [promises.EXIT]


def test_exits_out_of_order_are_noticed() -> None:
    assert promises_broken(batch([READ_EXIT, WRITE_EXIT])) == [promises.EXIT]


def test_a_guest_that_goes_on_elsewhere_is_noticed() -> None:
    for odd in (WROTE._replace(landing=LANDING_PADS - 1), WROTE._replace(done=False)):
        found = promises_broken(batch([WRITE_EXIT, READ_EXIT], [odd, READ_ON]))
        assert found == [promises.RETURN]


def test_a_guest_that_reads_other_bytes_than_were_answered_is_noticed() -> None:
    odd = READ_ON._replace(value=ACCUMULATOR & ~0xFFFF | 0x4321)
    assert promises_broken(batch([WRITE_EXIT, READ_EXIT], [WROTE, odd])) == [promises.READ]


def test_a_narrow_read_keeps_the_rest_of_the_register() -> None:
    odd = READ_ON._replace(value=0x1234)
    assert promises_broken(batch([WRITE_EXIT, READ_EXIT], [WROTE, odd])) == [promises.READ]


@pytest.mark.parametrize(
    ("width", "value"),
    [(4, 0x1234_5678), (8, 0x1234_5678_9ABC_DEF0), (1, ACCUMULATOR & ~0xFF | 0x12)],
)
def test_a_read_of_four_bytes_clears_the_rest_of_the_register(width: int, value: int) -> None:
    access = replace(READ, width=width)
    data = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    expected = Expected((Reaction((), (ExpectedExit(Bus.MMIO, ADDRESS, width, None),), 3),))
    seen = [READ_EXIT._replace(access=0, width=width, data=data)]
    for held, found in ((value, 0), (value ^ 1 << 40, 1)):
        outcome = READ_ON._replace(value=held)
        result = list(compare_run(GuestRun((access,)), expected, Batch(seen, [outcome])))
        assert len(result) == found


def test_a_write_that_clobbers_its_register_is_noticed() -> None:
    odd = WROTE._replace(value=0)
    assert promises_broken(batch([WRITE_EXIT, READ_EXIT], [odd, READ_ON])) == [promises.RETURN]


def test_a_string_read_is_compared_element_by_element() -> None:
    string = replace(READ, values=(0, 0), string=True)
    exits = tuple(ExpectedExit(Bus.MMIO, ADDRESS + 2 * index, 2, None) for index in (0, 1))
    expected = Expected((Reaction((), exits, promises.READ),))
    seen = [READ_EXIT._replace(access=0), READ_EXIT._replace(access=0, address=ADDRESS + 2)]
    for values, found in (((0x1234, 0x1234), 0), ((0x1234, 0x1235), 1)):
        outcome = READ_ON._replace(values=values)
        result = list(compare_run(GuestRun((string,)), expected, Batch(seen, [outcome])))
        assert len(result) == found


def test_what_is_not_promised_is_not_compared_but_the_guest_must_go_on() -> None:
    step, expected = GuestRun((replace(WRITE, width=16),)), Expected((None,))
    assert list(compare_run(step, expected, Batch([WRITE_EXIT], [WROTE]))) == []
    lost = Batch([], [WROTE._replace(landing=0)])
    assert len(list(compare_run(step, expected, lost))) == 1


def test_a_count_differs_by_the_promise_of_the_only_access() -> None:
    reactions = EXPECTED.reactions
    assert list(compare_count("s", reactions, "e", expected=2, seen=2)) == []
    (one,) = compare_count("s", reactions[:1], "e", expected=0, seen=1)
    assert (one.promise, one.expected, one.seen) == (
        promises.EXIT,
        "eventfd e holds 0x0",
        "it holds 0x1",
    )
    (several,) = compare_count("s", reactions, "e", expected=0, seen=1)
    assert several.promise == promises.SIGNAL
