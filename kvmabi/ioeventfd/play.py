"""One case, played: every step on the real machine beside what the oracle says of it.

Signals are counted once a guest run, for each eventfd, while exits are told apart by access: a
write either signals or exits, so nothing can be missed unless two faults cancel each other out.
What disagrees is played again, at last one access a run, so that the report names the very access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from kvmabi.errors import GuestError, GuestMisled
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.compare import (
    Disagreement,
    compare_answer,
    compare_count,
    compare_run,
)
from kvmabi.ioeventfd.contract import Answer, Eventfd, Kernel, Reaction
from kvmabi.ioeventfd.describe import access_text, errno_name, exit_text, step_text
from kvmabi.ioeventfd.oracle import Expected, Oracle
from kvmabi.ioeventfd.rig import Rig
from kvmabi.ioeventfd.steps import (
    Access,
    Case,
    CloseFd,
    CoalescedZones,
    DupFd,
    FillFd,
    GuestRun,
    Ioeventfd,
    OpenFd,
    ReplaceVm,
    Step,
    Together,
)
from kvmabi.ioeventfd.together import TRIES, overlapped, run_at_once
from kvmabi.vmm import Batch

REPLAYS: Final = 2
"""How often a disagreement is tried again, on a new VM each time."""
TIDY_LIMIT: Final = 4
"""With more than this many registrations left, a new VM costs less than deassigning them."""
NEAR_MAX: Final = 1 << 63
"""From this expected count on, poll's POLLERR is looked at as well."""

STARTING: Final = "start a guest, which asks the ports of PCI for its device"
PLAIN: Final = frozenset(
    {
        promises.SIGNAL,
        promises.EXIT,
        promises.MATCH,
        promises.DATAMATCH,
        promises.AFTER_DEASSIGN,
    }
)
"""The promises about a write as such; what happened before it may put another one at stake."""

Trace = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a case: the promises that it tried; `seen_in` of `tries` tries disagreed."""

    promises: tuple[int, ...]
    disagreements: tuple[Disagreement, ...] = ()
    tries: int = 1
    seen_in: int = 0


def play(case: Case, rig: Rig, kernel: Kernel) -> Played:
    """Return what came of the case; one that disagrees is tried REPLAYS times more.

    Raises OSError and KvmAbiError where the harness itself fails.
    """
    player = Player(case, rig, kernel)
    first = player.play()
    tried = tuple(sorted(player.promises))
    if not first:
        return Played(tried)
    again = [Player(case, rig, kernel).play() for _ in range(REPLAYS)]
    told = Player(singly(case), rig, kernel).play() or first
    return Played(tried, tuple(told), 1 + REPLAYS, 1 + sum(map(bool, again)))


def singly(case: Case) -> Case:
    """Return the case with each guest run cut into runs of one access."""
    return replace(case, steps=tuple(part for step in case.steps for part in _parts(step)))


def _parts(step: Step) -> Iterator[Step]:
    if isinstance(step, GuestRun):
        yield from (replace(step, accesses=(access,)) for access in step.accesses)
    else:
        yield step


class Player:
    """Plays one case once. `trace` is given a line for each thing that happens."""

    def __init__(self, case: Case, rig: Rig, kernel: Kernel, trace: Trace | None = None) -> None:
        self._case = case
        self._rig = rig
        self._trace = trace
        self._kernel = kernel
        self._oracle: Oracle
        self._found: list[Disagreement] = []
        self._crowded = False
        self._unread: GuestRun | None = None
        self._stake: int | None = None
        self.promises: set[int] = set()
        """The promises that decided what was expected so far."""

    def play(self) -> list[Disagreement]:
        """Carry out all steps, tidy up, and return what disagreed; empty where nothing did.

        It stops behind the first step that disagrees: what follows would only be its consequence.
        """
        try:
            self._oracle = Oracle(self._kernel, self._rig.prepare(self._case))
            self._play()
        except GuestMisled as error:
            self._misled(error)
        except BaseException:
            self._rig.close()
            raise
        self._rig.close_fds()
        if self._found:
            self._rig.discard_machines()
        return self._found

    def _play(self) -> None:
        for step in self._case.steps:
            try:
                self._step(step)
            except GuestError as error:
                self._guest_failed(step, error)
            self._found = [self._with_stake(step, each) for each in self._found]
            if self._found:
                return
        if self._unread:
            self._compare_counts(self._unread, [])
        self._tidy()

    def _with_stake(self, step: Step, found: Disagreement) -> Disagreement:
        """Name the promise that the steps before put at stake, where the guest shows it broken."""
        if self._stake is None or isinstance(step, Ioeventfd) or found.promise not in PLAIN:
            return found
        return replace(found, promise=self._stake)

    def _step(self, step: Step) -> None:
        rig, oracle = self._rig, self._oracle
        match step:
            case Ioeventfd():
                self._ioeventfd(step)
            case GuestRun():
                self._guest_run(step)
            case Together():
                self._together(step)
            case OpenFd():
                rig.open_fd(step)
                oracle.open_fd(step)
            case DupFd():
                rig.dup_fd(step)
                oracle.dup_fd(step)
            case CloseFd():
                rig.close_fd(step)
                oracle.close_fd(step)
                self._stake = promises.LIFETIME
            case FillFd():
                rig.fill_fd(step)
                oracle.fill_fd(step)
            case CoalescedZones():
                rig.coalesced_zones(step, self._address(step))
                self._crowded = True
            case ReplaceVm():
                rig.replace_vm(step)
                oracle.replace_vm(step)
                self._stake = promises.LIFETIME
        if self._trace and not isinstance(step, Ioeventfd | GuestRun | Together):
            self._trace(step_text(step))

    def _ioeventfd(self, step: Ioeventfd) -> None:
        errno = self._rig.ioeventfd(step, self._address(step), self._oracle.flags(step))
        answer = self._oracle.ioeventfd(step)
        self.promises.add(answer.promise)
        self._stake = promises.FAILURE if answer.errno else None
        if self._trace or errno != answer.errno:
            self._answered(step_text(step), answer, errno)

    def _answered(self, text: str, answer: Answer, errno: int) -> None:
        if self._trace:
            self._trace(f"{text} -> {errno_name(errno)}")
        if errno != answer.errno:
            self._found.append(compare_answer(text, answer, errno))

    def _address(self, what: Ioeventfd | Access | CoalescedZones) -> int:
        return self._oracle.layout.resolve(what.place)

    def _guest_run(self, step: GuestRun) -> None:
        batch = self._rig.guest_run(step, self._address)
        self._ran(step, self._oracle.guest_run(step), batch)

    def _together(self, step: Together) -> None:
        for each in step.runs:
            self._rig.machine(each.vm)
        runs = [partial(self._rig.guest_run, each, self._address) for each in step.runs]
        for _ in range(TRIES):
            spans = run_at_once(runs)
            expected = self._oracle.together(step)
            for each, reactions, span in zip(step.runs, expected, spans, strict=True):
                self._trace_run(each, span.batch)
                self._found += compare_run(each, reactions, span.batch)
            did = overlapped(spans)
            if self._trace:
                self._trace("these runs did overlap" if did else "these came one after the other")
            if did:
                self._stake = promises.CONCURRENCY
            if self._stake:
                self.promises.add(self._stake)
            self._compare_counts(step, [])
            if did or self._found:
                return

    def _ran(self, step: GuestRun, expected: Expected, batch: Batch) -> None:
        self._trace_run(step, batch)
        self._found += compare_run(step, expected, batch)
        self.promises.update(each.promise for each in expected.reactions if each)
        if self._stake:
            self.promises.add(self._stake)
        if step.unread:
            self._unread = step
        elif expected.promised:
            self._compare_counts(step, expected.reactions)

    def _compare_counts(self, step: Step, reactions: Sequence[Reaction | None]) -> None:
        """Compare what each eventfd holds with what was promised, and start from 0 again."""
        for eventfd, name in self._names().items():
            if eventfd.count >= NEAR_MAX:
                self._compare_poll(step, eventfd, name)
            seen = self._rig.count(name)
            if self._trace:
                self._trace(f"  eventfd {name} held {seen:#x}")
            if seen != eventfd.count:
                self._found += compare_count(
                    step_text(step), reactions, name, expected=eventfd.count, seen=seen
                )
            eventfd.count = 0

    def _compare_poll(self, step: Step, eventfd: Eventfd, name: str) -> None:
        polls = self._rig.polls_as_error(name)
        if polls != eventfd.overflown:
            wanted, seen = (
                f"poll {'reports' if yes else 'does not report'} POLLERR for {name}"
                for yes in (eventfd.overflown, polls)
            )
            self._found.append(Disagreement(step_text(step), promises.SATURATION, wanted, seen))

    def _names(self) -> dict[Eventfd, str]:
        """Return a name for each eventfd that can still be read."""
        return {eventfd: name for name, eventfd in self._oracle.eventfds().items()}

    def _misled(self, error: GuestMisled) -> None:
        """Blame the kernel where a guest did not find its device as it is.

        It asks ports that the machine serves, so that its accesses must have gone astray.
        """
        if self._trace:
            self._trace(str(error))
        self.promises.add(promises.EXIT)
        self._found = [
            Disagreement(STARTING, promises.EXIT, "the guest finds its device", str(error))
        ]

    def _guest_failed(self, step: Step, error: GuestError) -> None:
        full = any(eventfd.overflown for eventfd in self._names())
        promise = promises.SATURATION if full else promises.RETURN
        if self._trace:
            self._trace(str(error))
        self._found.append(
            Disagreement(step_text(step), promise, "the guest goes on to its end", str(error))
        )

    def _tidy(self) -> None:
        """Leave the VMs empty for the next case: deassign what is left, or drop them."""
        left = self._oracle.left_over()
        requests = [step for step in left if step is not None]
        if self._crowded or len(left) > TIDY_LIMIT or len(requests) < len(left):
            self._rig.discard_machines()
            return
        for step in requests:
            self._ioeventfd(step)

    def _trace_run(self, step: GuestRun, batch: Batch) -> None:
        if self._trace is None:
            return
        for index, (access, outcome) in enumerate(zip(step.accesses, batch.outcomes, strict=True)):
            self._trace(
                f"vm{step.vm} vcpu{step.vcpu}: {access_text(access)}: {outcome.cycles} cycles"
            )
            for each in batch.exits:
                if each.access == index:
                    self._trace(f"  exit: {exit_text(each)}")
