"""What becomes of a case before its first step."""

from __future__ import annotations

import pytest

from kvmabi.errors import GuestCrash, GuestMisled
from kvmabi.ioeventfd import promises
from kvmabi.ioeventfd.cases import all_cases
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.play import STARTING, play

CASE = all_cases()[0]
KERNEL = Kernel(0x1F, "a test", any_length=True, no_length=True, pv_mmio=0)


class LostRig:
    """Has no machine, since its guest does not start."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.discarded = 0

    def prepare(self, _case: object) -> None:
        raise self._error

    def close(self) -> None:
        """Close nothing."""

    close_fds = close

    def discard_machines(self) -> None:
        self.discarded += 1


def test_a_guest_whose_own_accesses_go_astray_shows_a_broken_promise() -> None:
    rig = LostRig(GuestMisled("the guest halted with status ODD_BARS"))
    played = play(CASE, rig, KERNEL)  # type: ignore[arg-type]
    (found,) = played.disagreements
    assert (found.step, found.promise) == (STARTING, promises.EXIT)
    assert found.seen == "the guest halted with status ODD_BARS"
    assert played.promises == (promises.EXIT,)
    assert played.seen_in == played.tries == 3
    assert rig.discarded >= 3


def test_a_guest_that_cannot_run_at_all_says_nothing_of_the_kernel() -> None:
    with pytest.raises(GuestCrash):
        play(CASE, LostRig(GuestCrash("entry failed")), KERNEL)  # type: ignore[arg-type]
