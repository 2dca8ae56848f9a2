"""What a guest is asked to do, and what came of it. All of these are immutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MMIO = "mmio"
PIO = "pio"


class Access(NamedTuple):
    """One access by the guest; tuples rather than dataclasses here, for speed."""

    bus: str
    """"mmio" or "pio"."""
    address: int
    """The absolute guest-physical address, or the port."""
    width: int
    """Bytes: 1, 2 or 4; 8 for mmio; 16 for mmio stores of a machine that allows hazards."""
    write: bool = True
    data: int = 0
    """The accumulator before the access: what is written, `width` bytes of it from the low end,
    and what a read leaves of it where it is narrower."""
    values: tuple[int, ...] = ()
    """For a string access (rep outs, ins, movs), one value for each element; of a read only their
    number counts. rep movs goes upwards from `address`, the port of rep outs and ins stays."""
    insn: int = 0
    """The length in bytes of the instruction that stores; 0 for the ordinary one."""


class Exit(NamedTuple):
    """One exit to user space; a string exit of many elements gives one for each."""

    access: int
    """Index of the access that the guest was making; -1 for none."""
    reason: int
    """KVM_EXIT_*."""
    bus: str
    """"mmio" or "pio"; empty for an exit of another kind, and then what follows is all zero."""
    address: int
    width: int
    write: bool
    data: bytes
    """What was written, or what the machine answered to a read; little endian."""


class Outcome(NamedTuple):
    """What the guest saw of one access."""

    done: bool
    """Whether the guest came to the end of it."""
    landing: int
    """How many of the 16 landing pads right behind the instruction ran: all, or KVM resumed
    elsewhere than at the next instruction."""
    cycles: int
    """By the guest's time-stamp counter, the measurement's own included; 0 where not timed."""
    value: int
    """The accumulator after the access: what a plain read gave, and what a write left as it was."""
    values: tuple[int, ...] = ()
    """What a string read gave, element by element."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of a batch: exits in the order in which they happened, and outcomes by access."""

    exits: list[Exit]
    outcomes: list[Outcome]
