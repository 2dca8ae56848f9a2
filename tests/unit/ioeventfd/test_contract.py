"""The contract, promise by promise: what is written here comes from KVM's documentation alone."""

from __future__ import annotations

import errno
from itertools import product

import pytest

from kvmabi import uapi
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.contract import (
    Bus,
    Eventfd,
    ExpectedExit,
    Kernel,
    Registration,
    Request,
    VmContract,
    fragments,
)

DATAMATCH = uapi.KVM_IOEVENTFD_FLAG_DATAMATCH
PIO = uapi.KVM_IOEVENTFD_FLAG_PIO
DEASSIGN = uapi.KVM_IOEVENTFD_FLAG_DEASSIGN
CCW = uapi.KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY
FAST_MMIO = 1 << 4
TOP = 1 << 64
KERNEL = Kernel(valid_flag_mask=0x1F, mask_source="test")


@pytest.fixture
def vm() -> VmContract:
    return VmContract(KERNEL)


@pytest.fixture
def e() -> Eventfd:
    return Eventfd()


def request(
    fd: Eventfd | int, addr: int = 0x1000, length: int = 4, flags: int = 0, datamatch: int = 0
) -> Request:
    return Request(addr, length, flags, datamatch, fd)


def assign(vm: VmContract, fd: Eventfd | int, **how: int) -> int:
    return vm.ioeventfd(request(fd, **how)).errno


def deassign(vm: VmContract, fd: Eventfd | int, **how: int) -> int:
    how["flags"] = how.get("flags", 0) | DEASSIGN
    return vm.ioeventfd(request(fd, **how)).errno


def write(
    vm: VmContract, addr: int = 0x1000, width: int = 4, value: int = 7, bus: Bus = Bus.MMIO
) -> int:
    """The number of exits; the signals are in the eventfds."""
    return len(vm.write(bus, addr, width, value).exits)


# 1, 2, 3: writes that match, writes that do not, and reads


def test_a_matching_write_adds_one_and_does_not_exit(vm: VmContract, e: Eventfd) -> None:
    assert assign(vm, e) == 0
    assert write(vm) == 0
    assert e.count == 1
    assert write(vm) == 0
    assert e.count == 2


def test_a_write_that_matches_nothing_exits_with_all_it_carries(vm: VmContract, e: Eventfd) -> None:
    assign(vm, e)
    reaction = vm.write(Bus.MMIO, 0x1004, 4, 0xDEADBEEF)
    assert reaction.exits == (ExpectedExit(Bus.MMIO, 0x1004, 4, 0xDEADBEEF),)
    assert reaction.signals == ()
    assert e.count == 0


def test_a_read_exits_and_signals_nothing(vm: VmContract, e: Eventfd) -> None:
    assign(vm, e)
    reaction = vm.read(Bus.MMIO, 0x1000, 4)
    assert reaction.exits == (ExpectedExit(Bus.MMIO, 0x1000, 4, None),)
    assert reaction.signals == ()
    assert e.count == 0


# 4, 5: what a match needs


@pytest.mark.parametrize(
    ("addr", "width", "bus", "matches"),
    [
        (0x1000, 4, Bus.MMIO, True),
        (0x1001, 4, Bus.MMIO, False),
        (0x0FFF, 4, Bus.MMIO, False),
        (0x1000 + (1 << 32), 4, Bus.MMIO, False),
        (0x1000, 2, Bus.MMIO, False),
        (0x1000, 8, Bus.MMIO, False),
        (0x1000, 4, Bus.PIO, False),
        (0x1000, 4, Bus.VIRTIO_CCW, False),
    ],
)
def test_a_match_needs_bus_address_and_width(
    vm: VmContract, e: Eventfd, addr: int, width: int, bus: Bus, matches: bool
) -> None:
    assign(vm, e)
    vm.write(bus, addr, width, 0)
    assert e.count == matches


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_any_length_matches_every_width(vm: VmContract, e: Eventfd, width: int) -> None:
    assign(vm, e, length=0)
    assert write(vm, width=width) == 0
    assert e.count == 1
    assert write(vm, addr=0x1001, width=width) == 1


@pytest.mark.parametrize(
    ("length", "datamatch", "value", "matches"),
    [
        (1, 0xFA, 0xFA, True),
        (1, 0xFA, 0xCE, False),
        (1, 0x1FA, 0xFA, False),
        (2, 0x8000, 0x8000, True),
        (2, 0xFFFF_FFFF_FFFF_8000, 0x8000, False),
        (4, 1 << 32, 0, False),
        (4, 0xFFFF_FFFF, 0xFFFF_FFFF, True),
        (4, TOP - 1, 0xFFFF_FFFF, False),
        (8, TOP - 1, TOP - 1, True),
        (8, 1 << 63, 0, False),
        (8, 0, 0, True),
    ],
)
def test_datamatch_compares_all_64_bits_of_the_zero_extended_value(
    vm: VmContract, e: Eventfd, length: int, datamatch: int, value: int, matches: bool
) -> None:
    assert assign(vm, e, length=length, flags=DATAMATCH, datamatch=datamatch) == 0
    write(vm, width=length, value=value)
    assert e.count == matches


def test_without_the_flag_a_datamatch_means_nothing(vm: VmContract, e: Eventfd) -> None:
    assign(vm, e, datamatch=99)
    write(vm, value=1)
    assert e.count == 1
    assert deassign(vm, e, datamatch=5) == 0


@pytest.mark.parametrize(
    ("flags", "bus"),
    [
        (0, Bus.MMIO),
        (FAST_MMIO, Bus.MMIO),
        (PIO, Bus.PIO),
        (CCW, Bus.VIRTIO_CCW),
        (PIO | CCW, Bus.PIO),
    ],
)
def test_the_flags_select_the_bus_and_pio_wins(
    vm: VmContract, e: Eventfd, flags: int, bus: Bus
) -> None:
    assert assign(vm, e, flags=flags) == 0
    for each in Bus:
        vm.write(each, 0x1000, 4, 0)
        assert e.count == (each is bus)
        e.count = 0


# 6, 8: sharing an address, and clashes

SHAPES = [
    {"length": length, "flags": flags, "datamatch": datamatch}
    for length in (0, 1, 2, 4, 8)
    for flags, datamatch in ((0, 0), (DATAMATCH, 1), (DATAMATCH, 2), (DATAMATCH, 1 << 40))
    if length or not flags
]


def could_match(shape: dict[str, int], width: int, value: int) -> bool:
    fits = shape["length"] in (0, width)
    return fits and (not shape["flags"] or shape["datamatch"] == value)


def some_write_matches_both(one: dict[str, int], two: dict[str, int]) -> bool:
    values = (0, 1, 2, 3, 1 << 40)
    return any(
        could_match(one, width, value) and could_match(two, width, value)
        for width in (1, 2, 4, 8)
        for value in values
        if value < 1 << 8 * width
    )


def is_unreachable(shape: dict[str, int]) -> bool:
    return bool(shape["flags"]) and shape["datamatch"] >= 1 << 8 * shape["length"]


@pytest.mark.parametrize(("one", "two"), list(product(SHAPES, SHAPES)))
def test_two_clash_where_one_write_could_match_both(
    one: dict[str, int], two: dict[str, int]
) -> None:
    if is_unreachable(one) or is_unreachable(two):
        expected = one["length"] == two["length"] and (
            not one["flags"] or not two["flags"] or one["datamatch"] == two["datamatch"]
        )
        expected = expected or 0 in (one["length"], two["length"])
    else:
        expected = some_write_matches_both(one, two)
    vm = VmContract(KERNEL)
    assert assign(vm, Eventfd(), **one) == 0
    assert assign(vm, Eventfd(), **two) == (errno.EEXIST if expected else 0)


def test_each_write_signals_only_its_own(vm: VmContract) -> None:
    by_value = {value: Eventfd() for value in (1, 2)}
    for value, eventfd in by_value.items():
        assert assign(vm, eventfd, flags=DATAMATCH, datamatch=value) == 0
    eight = Eventfd()
    assert assign(vm, eight, length=8) == 0
    assert write(vm, value=2) == 0
    assert (by_value[1].count, by_value[2].count, eight.count) == (0, 1, 0)
    assert write(vm, value=3) == 1
    assert write(vm, width=8, value=1) == 0
    assert (by_value[1].count, by_value[2].count, eight.count) == (0, 1, 1)


@pytest.mark.parametrize("other", [{"addr": 0x1001}, {"addr": 0x1004}, {"flags": PIO}])
def test_other_addresses_and_buses_never_clash(
    vm: VmContract, e: Eventfd, other: dict[str, int]
) -> None:
    assert assign(vm, e) == 0
    assert assign(vm, e, **other) == 0


def test_the_eventfd_plays_no_part_in_a_clash(vm: VmContract, e: Eventfd) -> None:
    assert assign(vm, e) == 0
    assert assign(vm, e) == errno.EEXIST
    assert assign(vm, Eventfd()) == errno.EEXIST


# 7, 9: arguments


@pytest.mark.parametrize("length", [3, 5, 6, 7, 9, 16, 1 << 31, (1 << 32) - 1])
def test_a_bad_length_is_refused(vm: VmContract, e: Eventfd, length: int) -> None:
    assert assign(vm, e, length=length) == errno.EINVAL


@pytest.mark.parametrize(
    ("addr", "length", "expected"),
    [
        (TOP - 1, 1, errno.EINVAL),
        (TOP - 8, 8, errno.EINVAL),
        (TOP - 9, 8, 0),
        (TOP - 4, 8, errno.EINVAL),
        (TOP - 2, 1, 0),
        (TOP - 1, 0, 0),
        (0, 8, 0),
    ],
)
def test_a_range_may_not_reach_the_end_of_the_address_space(
    vm: VmContract, e: Eventfd, addr: int, length: int, expected: int
) -> None:
    assert assign(vm, e, addr=addr, length=length) == expected


@pytest.mark.parametrize("bit", [bit for bit in range(32) if 1 << bit != DEASSIGN])
def test_flags_outside_the_mask_are_refused(vm: VmContract, e: Eventfd, bit: int) -> None:
    assert assign(vm, e, flags=1 << bit) == (0 if bit < 5 else errno.EINVAL)


def test_any_length_takes_no_datamatch(vm: VmContract, e: Eventfd) -> None:
    assert assign(vm, e, length=0, flags=DATAMATCH) == errno.EINVAL


@pytest.mark.parametrize("why", [errno.EBADF, errno.EINVAL])
def test_arguments_come_before_the_fd_and_the_fd_before_a_clash(
    vm: VmContract, e: Eventfd, why: int
) -> None:
    assert assign(vm, why, length=3) == errno.EINVAL
    assert assign(vm, why) == why
    assert assign(vm, e) == 0
    assert assign(vm, why) == why


@pytest.mark.parametrize(
    ("any_length", "no_length", "mmio", "pio"),
    [
        (True, True, 0, 0),
        (True, False, 0, 0),
        (False, True, 0, errno.EINVAL),
        (False, False, errno.EINVAL, errno.EINVAL),
    ],
)
def test_any_length_needs_a_capability(
    any_length: bool, no_length: bool, mmio: int, pio: int, e: Eventfd
) -> None:
    vm = VmContract(Kernel(0x1F, "test", any_length=any_length, no_length=no_length))
    assert assign(vm, e, length=0) == mmio
    assert assign(vm, e, length=0, flags=PIO) == pio


# 10, 11, 16: deassign


WRONG = [
    {"addr": 0x1001},
    {"length": 2},
    {"length": 0},
    {"flags": PIO | DATAMATCH},
    {"flags": 0},
    {"datamatch": 6},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_deassign_needs_every_field(vm: VmContract, e: Eventfd, wrong: dict[str, int]) -> None:
    right = {"flags": DATAMATCH, "datamatch": 7}
    assert assign(vm, e, **right) == 0
    assert deassign(vm, e, **{**right, **wrong}) == errno.ENOENT
    assert write(vm, value=7) == 0
    assert deassign(vm, e, **right) == 0
    assert write(vm, value=7) == 1
    assert e.count == 1
    assert deassign(vm, e, **right) == errno.ENOENT


def test_deassign_needs_the_same_eventfd(vm: VmContract, e: Eventfd) -> None:
    assign(vm, e)
    assert deassign(vm, Eventfd()) == errno.ENOENT
    assert deassign(vm, errno.EBADF) == errno.EBADF
    assert deassign(vm, errno.EINVAL) == errno.EINVAL
    assert deassign(vm, e) == 0


def test_deassign_looks_at_neither_length_nor_unknown_flags(vm: VmContract, e: Eventfd) -> None:
    assert deassign(vm, e, length=3) == errno.ENOENT
    assign(vm, e)
    assert deassign(vm, e, flags=1 << 31) == 0


def test_a_failed_assign_changes_nothing(vm: VmContract, e: Eventfd) -> None:
    other = Eventfd()
    assign(vm, e)
    assert assign(vm, other) == errno.EEXIST
    write(vm)
    assert (e.count, other.count) == (1, 0)
    assert deassign(vm, other) == errno.ENOENT


# 14: an eventfd at its maximum


def test_a_full_eventfd_stays_full(vm: VmContract, e: Eventfd) -> None:
    e.count = TOP - 2
    assign(vm, e)
    assert not e.overflown
    assert write(vm) == 0
    assert (e.count, e.overflown) == (TOP - 1, True)
    assert write(vm) == 0
    assert (e.count, e.overflown) == (TOP - 1, True)


# 15: pages


@pytest.mark.parametrize(
    ("address", "width", "parts"),
    [
        (0xFFC, 4, [(0xFFC, 4, 0)]),
        (0xFFD, 4, [(0xFFD, 3, 0), (0x1000, 1, 3)]),
        (0xFFF, 2, [(0xFFF, 1, 0), (0x1000, 1, 1)]),
        (0xFFC, 8, [(0xFFC, 4, 0), (0x1000, 4, 4)]),
        (0x1001, 8, [(0x1001, 8, 0)]),
    ],
)
def test_a_memory_access_is_split_at_the_page(
    address: int, width: int, parts: list[tuple[int, int, int]]
) -> None:
    assert list(fragments(Bus.MMIO, address, width)) == parts
    assert list(fragments(Bus.PIO, address, width)) == [(address, width, 0)]


def test_each_fragment_has_its_own_fate(vm: VmContract, e: Eventfd) -> None:
    assign(vm, e, addr=0x1000, length=4, flags=DATAMATCH, datamatch=0x1122_3344)
    reaction = vm.write(Bus.MMIO, 0xFFC, 8, 0x1122_3344_5566_7788)
    assert reaction.exits == (ExpectedExit(Bus.MMIO, 0xFFC, 4, 0x5566_7788),)
    assert e.count == 1


def test_the_whole_of_a_split_write_matches_nothing(vm: VmContract, e: Eventfd) -> None:
    assign(vm, e, addr=0xFFE, length=4)
    assert write(vm, addr=0xFFE) == 2
    assert e.count == 0


# PV_MMIO

PV = 1 << 5
WITH_PV = Kernel(valid_flag_mask=0x3F, mask_source="test", pv_mmio=PV)


@pytest.mark.parametrize(
    ("flags", "with_pv"),
    [(0, 0), (PIO, errno.EINVAL), (DATAMATCH, errno.EINVAL), (PIO | DATAMATCH, errno.EINVAL)],
)
def test_pv_mmio_takes_neither_pio_nor_datamatch(flags: int, with_pv: int) -> None:
    assert assign(VmContract(KERNEL), Eventfd(), flags=flags | PV) == errno.EINVAL
    assert assign(VmContract(WITH_PV), Eventfd(), flags=flags | PV) == with_pv


def test_pv_mmio_signals_the_registered_width_at_the_address(e: Eventfd) -> None:
    vm = VmContract(WITH_PV)
    assign(vm, e, flags=PV)
    assert write(vm) == 0
    assert write(vm, addr=0x1040) == 1
    assert e.count == 1


# The contract itself


def test_a_broken_contract_is_noticed(vm: VmContract, e: Eventfd) -> None:
    one = Registration(Bus.MMIO, 0x1000, 4, None, e)
    vm.registered[one.spot] = {one.shape: one, (0, None): one}
    with pytest.raises(AssertionError, match="share one write"):
        write(vm)


def test_every_promise_has_a_text() -> None:
    assert sorted(promises.PROMISES) == list(range(1, 19))
