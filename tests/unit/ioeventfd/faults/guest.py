"""Kernels whose guest or user space sees wrongly: exits, reads, registers, strings, pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from kvmabi.ioeventfd import promises
from kvmabi.vmm import Access, Batch, Exit, Outcome
from tests.unit.ioeventfd.fake_kvm import MMIO, PAGE, PIO, Device, FakeKvm, Run
from tests.unit.ioeventfd.faults.base import Fault, changed


def exiting(change: Callable[[Exit], Exit]) -> type[FakeKvm]:
    """Return a kernel whose exits are changed."""
    faithful = FakeKvm.exits
    return changed(
        exits=lambda self, *args, write: [
            change(each) for each in faithful(self, *args, write=write)
        ]
    )


def written(change: Callable[[bytes], bytes]) -> type[FakeKvm]:
    """Return a kernel whose exits tell other data than was written."""
    return exiting(lambda each: each._replace(data=change(each.data)) if each.write else each)


def reading(when: Callable[[Run, Device, int], object], *, exits: bool = False) -> type[FakeKvm]:
    """Return a kernel where a read of so many bytes signals the devices that `when` names."""

    class Broken(FakeKvm):
        def bus_read(self, run: Run, bus: str, address: int, size: int) -> bytes | None:
            for device in self.candidates(run.vm, bus, address):
                if device.length in (0, size) and when(run, device, size):
                    self.signal(device.eventfd)
                    return None if exits else bytes(size)
            return None

    return Broken


def loading(change: Callable[[FakeKvm, bytes], bytes]) -> type[FakeKvm]:
    """Return a kernel where the guest reads other bytes than its exit was answered with."""
    faithful = FakeKvm.load

    def load(self: FakeKvm, run: Run, bus: str, address: int, width: int) -> bytes:
        return change(self, faithful(self, run, bus, address, width))

    return changed(load=load)


def stale(kvm: Any, data: bytes) -> bytes:
    last, kvm.last = getattr(kvm, "last", bytes(len(data))), data
    return last[: len(data)].ljust(len(data), b"\0")


def returning(change: Callable[[Access, Outcome], Outcome]) -> type[FakeKvm]:
    """Return a kernel behind whose accesses the guest's registers are changed."""
    faithful = FakeKvm.outcome
    return changed(outcome=lambda self, access, got: change(access, faithful(self, access, got)))


def astray(when: Callable[[Access], object]) -> type[FakeKvm]:
    """Return a kernel that goes on a byte too far where `when` says so."""
    return returning(
        lambda access, outcome: outcome._replace(landing=15) if when(access) else outcome
    )


def strings(change: Callable[[Access], tuple[int, ...]], *, write: bool = True) -> type[FakeKvm]:
    """Return a kernel that takes other elements than a string has."""
    faithful = FakeKvm.elements
    return changed(
        elements=lambda self, access: (
            change(access) if access.values and access.write == write else faithful(self, access)
        )
    )


def crosses(access: Access) -> bool:
    """Whether a string on memory ends in another page than it starts in."""
    end = access.address + access.width * len(access.values) - 1
    return access.bus == MMIO and access.address // PAGE != end // PAGE


def splitting(fragments: Callable[[str, int, int], Iterator[tuple[int, int]]]) -> type[FakeKvm]:
    """Return a kernel with another way to split accesses."""
    return changed(fragments=lambda _, *args: fragments(*args))


def whole(_bus: str, _address: int, width: int) -> Iterator[tuple[int, int]]:
    yield 0, width


def halves(_bus: str, _address: int, width: int) -> Iterator[tuple[int, int]]:
    yield from ((0, 4), (4, 4)) if width == 8 else ((0, width),)


def bytewise(bus: str, address: int, width: int) -> Iterator[tuple[int, int]]:
    unaligned = bus == MMIO and address % width
    yield from ((at, 1) for at in range(width)) if unaligned else ((0, width),)


def every_8(bus: str, address: int, width: int) -> Iterator[tuple[int, int]]:
    left = 8 - address % 8
    yield from ((0, left), (left, width - left)) if bus == MMIO and width > left else ((0, width),)


class Backwards(FakeKvm):
    def fragments(self, bus: str, address: int, width: int) -> Iterator[tuple[int, int]]:
        yield from reversed(list(super().fragments(bus, address, width)))


class SignalAndExit(FakeKvm):
    def when(self, device: Device) -> bool:
        return True

    def bus_write(self, run: Run, bus: str, address: int, data: bytes) -> bool:
        found = self.find(run, bus, address, data)
        taken = super().bus_write(run, bus, address, data)
        return taken and not any(map(self.when, found))


class AnyLengthSignalAndExit(SignalAndExit):
    def when(self, device: Device) -> bool:
        return not device.length


class FragmentsAfterAHit(FakeKvm):
    """The rest of a write is lost where its first fragment is taken."""

    def store(self, run: Run, bus: str, address: int, data: bytes) -> None:
        for skip, size in self.fragments(bus, address, len(data)):
            part = data[skip : skip + size]
            if self.bus_write(run, bus, address + skip, part):
                return
            run.exits += self.exits(run, bus, address + skip, part, write=True)


class LaterFragments(FakeKvm):
    """What becomes of a fragment that is not the first, and not taken."""

    def later(self, run: Run, each: Exit) -> list[Exit]:
        return []

    def exits(self, run: Run, bus: str, address: int, data: bytes, *, write: bool) -> list[Exit]:
        seen = super().exits(run, bus, address, data, write=write)
        if write and run.exits and run.exits[-1].access == run.index and address % PAGE == 0:
            return self.later(run, seen[0])
        return seen


class StaleLaterFragments(LaterFragments):
    def later(self, run: Run, each: Exit) -> list[Exit]:
        return [each._replace(data=bytes(each.width)) if run.handover else each]


class StringsAfterAHit(FakeKvm):
    """The rest of a string is lost where one of its elements is taken."""

    first = True

    def instruction(self, run: Run, access: Access) -> Outcome:
        if access.write and access.values:
            stride = access.width if access.bus == MMIO else 0
            for index, value in enumerate(access.values):
                data = value.to_bytes(access.width, "little")
                at = access.address + index * stride
                if (index == 0) == self.first and self.find(run, access.bus, at, data):
                    access = access._replace(values=access.values[: index + 1])
                    break
        return super().instruction(run, access)


class StringsAfterALaterHit(StringsAfterAHit):
    first = False


class LostWithALength(FakeKvm):
    """A taken write by an instruction of 13 bytes signals nothing."""

    def instruction(self, run: Run, access: Access) -> Outcome:
        data = access.data.to_bytes(8, "little")[: access.width]
        if access.insn == 13 and self.find(run, access.bus, access.address, data):
            return self.outcome(access, b"")
        return super().instruction(run, access)


class Stray(FakeKvm):
    def run(self, run: Run, accesses: Any) -> Batch:
        batch = super().run(run, accesses)
        stray = Exit(-1, batch.exits[0].reason if batch.exits else 6, MMIO, PAGE, 4, True, b"1234")
        return Batch([*batch.exits, stray], batch.outcomes)


EXITS: Final = (
    Fault("a taken write exits as well", promises.SIGNAL, SignalAndExit, ("match",)),
    Fault(
        "a taken any-length write exits as well",
        promises.SIGNAL,
        AnyLengthSignalAndExit,
        ("match",),
    ),
    Fault(
        "a missed write exits twice",
        promises.EXIT,
        changed(exits=lambda self, *args, write: FakeKvm.exits(self, *args, write=write) * 2),
        ("match",),
    ),
    Fault(
        "a missed write does not exit",
        promises.EXIT,
        changed(
            exits=lambda self, *args, write: (
                [] if write else FakeKvm.exits(self, *args, write=write)
            )
        ),
        ("match",),
    ),
    Fault(
        "an exit tells another width",
        promises.EXIT,
        exiting(lambda each: each._replace(width=8) if each.width == 4 else each),
        ("match",),
    ),
    Fault("an exit tells zeros", promises.EXIT, written(lambda data: bytes(len(data))), ("match",)),
    Fault(
        "an exit lacks the top byte",
        promises.EXIT,
        written(lambda data: data[:-1] + b"\0" if len(data) > 1 else data),
        ("match",),
    ),
    Fault(
        "an exit tells bytes in reverse",
        promises.EXIT,
        written(lambda data: data[::-1]),
        ("match",),
    ),
    Fault(
        "an exit tells the page alone",
        promises.EXIT,
        exiting(lambda each: each._replace(address=each.address & -PAGE)),
        ("match",),
    ),
    Fault(
        "an exit tells 32 bits of the address",
        promises.EXIT,
        exiting(lambda each: each._replace(address=each.address & 0xFFFF_FFFF)),
        ("match",),
    ),
    Fault(
        "an exit tells the other direction",
        promises.EXIT,
        exiting(lambda each: each._replace(write=not each.write)),
        ("match",),
    ),
    Fault(
        "an exit tells the other bus",
        promises.EXIT,
        exiting(lambda each: each._replace(bus=PIO if each.bus == MMIO else MMIO)),
        ("match",),
    ),
    Fault("an exit beyond all accesses", promises.EXIT, Stray, ("match",)),
)

READS: Final = (
    Fault("a read matches", promises.READ, reading(lambda *_: True), ("match",)),
    Fault(
        "a read signals and exits", promises.READ, reading(lambda *_: True, exits=True), ("match",)
    ),
    Fault(
        "a read matches any-length",
        promises.READ,
        reading(lambda _run, device, _size: not device.length),
        ("match",),
    ),
    Fault(
        "a read matches datamatch 0",
        promises.READ,
        reading(lambda _run, device, _size: not device.wildcard and not device.datamatch),
        ("match",),
    ),
    Fault(
        "a read of 8 bytes matches",
        promises.READ,
        reading(lambda _run, _device, size: size == 8),
        ("match",),
    ),
    Fault(
        "a read matches on vCPU 1",
        promises.READ,
        reading(lambda run, _device, _size: run.vcpu == 1),
        ("vcpus",),
    ),
    Fault(
        "a read's second fragment matches",
        promises.READ,
        reading(lambda run, device, _size: device.address % PAGE == 0 and run.exits, exits=True),
        ("straddle",),
    ),
    Fault(
        "a read gets zeros", promises.READ, loading(lambda _, data: bytes(len(data))), ("match",)
    ),
    Fault("a read gets the answer before", promises.READ, loading(stale), ("match",)),
    Fault(
        "a read gets its bytes in reverse",
        promises.READ,
        loading(lambda _, data: data[::-1]),
        ("match",),
    ),
    Fault(
        "a read gets 2 bytes",
        promises.READ,
        loading(lambda _, data: data[:2].ljust(len(data), b"\0")),
        ("match",),
    ),
    Fault(
        "a string read gets its elements in reverse",
        promises.READ,
        returning(lambda _, outcome: outcome._replace(values=outcome.values[::-1])),
        ("match",),
    ),
    Fault(
        "a string read gets its first element everywhere",
        promises.READ,
        returning(
            lambda _, outcome: outcome._replace(values=outcome.values[:1] * len(outcome.values))
        ),
        ("match",),
    ),
    Fault(
        "a narrow read clears the rest of RAX",
        promises.READ,
        returning(
            lambda access, outcome: outcome._replace(
                value=outcome.value & (1 << 8 * access.width) - 1
            )
        ),
        ("match",),
    ),
)

REGISTERS: Final = (
    Fault(
        "a write changes RAX",
        promises.RETURN,
        returning(
            lambda access, outcome: (
                outcome._replace(value=outcome.value ^ 1)
                if access.write and not access.values
                else outcome
            )
        ),
        ("match",),
    ),
    Fault(
        "a write clears RAX",
        promises.RETURN,
        returning(
            lambda access, outcome: (
                outcome._replace(value=0) if access.write and not access.values else outcome
            )
        ),
        ("match",),
    ),
    Fault(
        "a string changes RAX",
        promises.RETURN,
        returning(
            lambda access, outcome: (
                outcome._replace(value=outcome.value ^ 1) if access.values else outcome
            )
        ),
        ("match",),
    ),
    *(
        Fault(
            f"the guest goes astray behind {insn} bytes",
            promises.RETURN,
            astray(lambda access, insn=insn: access.insn == insn),
            ("instruction",),
        )
        for insn in (1, 2, 4, 7, 15)
    ),
    Fault(
        "the guest goes astray behind a string",
        promises.RETURN,
        astray(lambda access: access.values),
        ("match",),
    ),
    Fault(
        "an access never ends",
        promises.RETURN,
        returning(lambda _, outcome: outcome._replace(done=False)),
        ("match",),
    ),
    Fault(
        "a write by a long instruction is lost", promises.RETURN, LostWithALength, ("instruction",)
    ),
)

STRINGS: Final = (
    Fault(
        "a string write drops its last element",
        promises.ELEMENTS,
        strings(lambda access: access.values[:-1]),
        ("match",),
    ),
    Fault(
        "a string write is its first element",
        promises.ELEMENTS,
        strings(lambda access: access.values[:1]),
        ("match",),
    ),
    Fault(
        "a string write repeats its first element",
        promises.ELEMENTS,
        strings(lambda access: access.values[:1] * len(access.values)),
        ("match",),
    ),
    Fault(
        "a string write goes backwards",
        promises.ELEMENTS,
        strings(lambda access: access.values[::-1]),
        ("match", "phase"),
    ),
    *(
        Fault(
            f"a string write stops after {count} elements",
            promises.ELEMENTS,
            strings(lambda access, count=count: access.values[:count]),
        )
        for count in (3, 4, 8)
    ),
    *(
        Fault(
            f"a string read stops after {count} elements",
            promises.ELEMENTS,
            strings(lambda access, count=count: access.values[:count], write=False),
        )
        for count in (1, 2, 3)
    ),
    Fault(
        "a string write across a page is lost",
        promises.ELEMENTS,
        strings(lambda access: () if crosses(access) else access.values),
    ),
    Fault(
        "a string write ends with its page",
        promises.ELEMENTS,
        strings(
            lambda access: (
                access.values[: (PAGE - access.address % PAGE) // access.width]
                if crosses(access)
                else access.values
            )
        ),
    ),
    Fault(
        "a string write ends with its first hit", promises.ELEMENTS, StringsAfterAHit, ("match",)
    ),
    Fault(
        "a string write ends with a later hit", promises.ELEMENTS, StringsAfterALaterHit, ("phase",)
    ),
)

PAGES: Final = (
    Fault("a straddling write is not split", promises.ELEMENTS, splitting(whole), ("straddle",)),
    Fault("fragments come in reverse", promises.ELEMENTS, Backwards, ("straddle",)),
    Fault("8 bytes come as two halves", promises.ELEMENTS, splitting(halves), ("match",)),
    Fault("unaligned writes come as bytes", promises.ELEMENTS, splitting(bytewise), ("unaligned",)),
    Fault(
        "writes are split every 8 bytes",
        promises.ELEMENTS,
        splitting(every_8),
        ("unaligned", "match"),
    ),
    Fault("a second fragment is lost", promises.ELEMENTS, LaterFragments, ("straddle",)),
    Fault(
        "a second fragment is stale after a change of thread",
        promises.ELEMENTS,
        StaleLaterFragments,
        ("handover",),
    ),
    Fault(
        "a second fragment is lost behind a taken one",
        promises.ELEMENTS,
        FragmentsAfterAHit,
        ("straddle",),
    ),
)

FAULTS: Final = (*EXITS, *READS, *REGISTERS, *STRINGS, *PAGES)
