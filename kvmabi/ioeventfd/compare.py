"""What was seen beside what was promised, as disagreements. Pure: no device is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kvmabi.guest.mailbox import LANDING_PADS
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.contract import Answer, ExpectedExit, Reaction
from kvmabi.ioeventfd.describe import access_text, errno_name, exit_text, expected_text
from kvmabi.ioeventfd.oracle import Expected
from kvmabi.ioeventfd.steps import ACCUMULATOR, Access, GuestRun
from kvmabi.vmm import Batch, Exit, Outcome


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that was not as promised: at which step, by which promise."""

    step: str
    promise: int
    expected: str
    seen: str


def compare_answer(step: str, answer: Answer, errno: int) -> Disagreement:
    """Return how an ioctl's result differs from its promised one, which it does."""
    return Disagreement(step, answer.promise, errno_name(answer.errno), errno_name(errno))


def compare_run(step: GuestRun, expected: Expected, batch: Batch) -> Iterator[Disagreement]:
    """Yield how a guest run's exits, values read and next instructions differ."""
    for access, outcome in zip(step.accesses, batch.outcomes, strict=True):
        yield from _compare_landing(access, outcome)
        if access.write and outcome.done:
            yield from _compare_accumulator(access, outcome)
    if not expected.promised:
        return
    wanted = expected.exits()
    if len(wanted) == len(batch.exits) and all(map(_is_same, wanted, batch.exits)):
        yield from _compare_reads(step, batch)
    else:
        yield from _compare_exits(step, expected, batch)


def _is_same(wanted: tuple[int, ExpectedExit], seen: Exit) -> bool:
    index, expected = wanted
    return (
        seen.access == index
        and seen.address == expected.address
        and seen.width == expected.width
        and seen.bus == expected.bus
        and seen.write == (expected.value is not None)
        and (expected.value is None or int.from_bytes(seen.data, "little") == expected.value)
    )


def _compare_landing(access: Access, outcome: Outcome) -> Iterator[Disagreement]:
    """See that the guest went on at exactly the next instruction: it runs all its landing pads."""
    if outcome.done and outcome.landing == LANDING_PADS:
        return
    seen = f"{outcome.landing} landing pads run" if outcome.done else "the access never ended"
    wanted = f"the guest goes on at the next instruction ({LANDING_PADS} landing pads run)"
    yield Disagreement(access_text(access), promises.RETURN, wanted, seen)


def _compare_accumulator(access: Access, outcome: Outcome) -> Iterator[Disagreement]:
    """See that a write left the guest's register alone."""
    held = access.values[0] & (1 << 64) - 1
    if outcome.value != held:
        wanted, seen = f"rax still holds {held:#x}", f"it holds {outcome.value:#x}"
        yield Disagreement(access_text(access), promises.RETURN, wanted, seen)


def _compare_reads(step: GuestRun, batch: Batch) -> Iterator[Disagreement]:
    """See that the guest got the bytes that its exits were answered with, and nothing else."""
    for index, access in enumerate(step.accesses):
        if access.write:
            continue
        answered = b"".join(each.data for each in batch.exits if each.access == index)
        wanted = answered if access.string else _register(access.width, answered)
        got = _got(access, batch.outcomes[index])
        if got != wanted:
            what = "memory" if access.string else "rax"
            yield Disagreement(
                access_text(access),
                promises.READ,
                f"answered with {answered.hex(' ')}, the guest has {wanted.hex(' ')} in {what}",
                f"it has {got.hex(' ')}",
            )


def _got(access: Access, outcome: Outcome) -> bytes:
    """Return what a read left in memory (a string), or in all of rax."""
    if not access.string:
        return outcome.value.to_bytes(8, "little")
    return b"".join(value.to_bytes(access.width, "little") for value in outcome.values)


def _register(width: int, loaded: bytes) -> bytes:
    """Return rax after a load of `width` bytes: one of 4 clears the rest, narrower ones keep it."""
    before = ACCUMULATOR.to_bytes(8, "little")
    return loaded + (before[width:] if width < 4 else bytes(8 - width))


def _compare_exits(step: GuestRun, expected: Expected, batch: Batch) -> Iterator[Disagreement]:
    """Yield the accesses whose exits differ; the whole run where only its order does."""
    told = False
    for index, (access, reaction) in enumerate(zip(step.accesses, expected.reactions, strict=True)):
        wanted = [(index, each) for each in reaction.exits] if reaction else []
        seen = [each for each in batch.exits if each.access == index]
        if len(wanted) != len(seen) or not all(map(_is_same, wanted, seen)):
            told = True
            yield Disagreement(
                access_text(access), _promise(reaction), _wanted_text(wanted), _seen_text(seen)
            )
    stray = [each for each in batch.exits if not 0 <= each.access < len(step.accesses)]
    if stray:
        yield Disagreement("outside any access", promises.EXIT, "no exit", _seen_text(stray))
    elif not told:
        yield Disagreement(
            "the order of exits",
            promises.EXIT,
            _wanted_text(expected.exits()),
            _seen_text(batch.exits),
        )


def _promise(reaction: Reaction | None) -> int:
    return reaction.promise if reaction else promises.EXIT


def compare_count(
    step: str, reactions: Sequence[Reaction | None], name: str, *, expected: int, seen: int
) -> Iterator[Disagreement]:
    """Yield how an eventfd's count differs from the promised one after these reactions."""
    if seen == expected:
        return
    promise = _promise(reactions[0]) if len(reactions) == 1 else promises.SIGNAL
    yield Disagreement(step, promise, f"eventfd {name} holds {expected:#x}", f"it holds {seen:#x}")


def _wanted_text(exits: Iterable[tuple[int, ExpectedExit]]) -> str:
    return "; ".join(expected_text(each) for _, each in exits) or "no exit"


def _seen_text(exits: Iterable[Exit]) -> str:
    return "; ".join(map(exit_text, exits)) or "no exit"
