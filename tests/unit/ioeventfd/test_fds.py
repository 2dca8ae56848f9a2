"""How many descriptors a case and a worker take, and what a rig does about its own."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import closing
from typing import cast

import pytest

from kvmabi.errors import KvmAbiError, KvmUnavailable, UsageError
from kvmabi.ioeventfd import fds, rig
from kvmabi.ioeventfd.cases import all_cases
from kvmabi.ioeventfd.contract import Kernel
from kvmabi.ioeventfd.detect import detect_kernel
from kvmabi.ioeventfd.rig import Rig
from kvmabi.ioeventfd.run import Supervisor
from kvmabi.ioeventfd.steps import Case, CloseFd, DupFd, FdKind, FillFd, OpenFd
from kvmabi.kvm import System

NO_SYSTEM = cast("System", None)
SYSTEM_AND_PASSING = 1 + 4
"""/dev/kvm, and what a rig opens for a moment: a pipe's other end, an epoll and its duplicate."""


def most_open(case: Case) -> int:
    count = most = 0
    for step in case.steps:
        count += isinstance(step, OpenFd | DupFd) - isinstance(step, CloseFd)
        most = max(most, count)
    return most


def test_no_case_opens_more_than_it_may() -> None:
    assert max(map(most_open, all_cases())) <= rig.FDS_EACH


def test_the_machines_of_any_cases_fit() -> None:
    cases = list(all_cases())
    vms, vcpus = max(case.vms for case in cases), max(case.vcpus for case in cases)
    assert vms * (1 + vcpus) + SYSTEM_AND_PASSING <= fds.MACHINE_FDS


def test_unmoved_descriptors_and_machines_stay_below_the_reserved() -> None:
    for threads in (1, 2, 48):
        taken = threads * (rig.FDS_EACH + fds.MACHINE_FDS)
        assert fds.FIRST_FDS + taken <= fds.first_own_fd(threads)


def test_a_number_from_the_reserved_is_noticed() -> None:
    with closing(Rig(NO_SYSTEM, 4000, shared_below=3)) as made:
        with pytest.raises(KvmAbiError, match="those from 3 on are reserved"):
            made.open_fd(OpenFd("e", FdKind.EVENTFD))
        number = made._fds["e"]
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(number)


@pytest.mark.parametrize("count", [0, 3, rig.MOST_READS, (1 << 64) - 2])
def test_a_semaphore_is_counted_in_bounded_time(count: int) -> None:
    with closing(Rig(NO_SYSTEM, 200)) as made:
        made.open_fd(OpenFd("s", FdKind.SEMAPHORE))
        made.fill_fd(FillFd("s", count))
        assert made.count("s") == count


@pytest.fixture
def hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hard limit of 1024 files, that is only looked at."""
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, _limits: None)


@pytest.mark.usefixtures("hard_limit")
def test_without_jobs_there_are_as_many_vms_as_fit_and_a_note() -> None:
    supervisor = Supervisor(list(all_cases()), Kernel(0x1F, "test"))
    assert fds.fds_needed(supervisor._threads) <= 1024 < fds.fds_needed(supervisor._threads + 1)
    (note,) = supervisor.notes
    assert "the limit of open files allows" in note
    assert "\n" not in note


@pytest.mark.usefixtures("hard_limit")
def test_jobs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="the hard limit is 1024"):
        Supervisor(list(all_cases()), Kernel(0x1F, "test"), jobs=1000)


def test_a_kernel_without_ioeventfds_cannot_be_checked() -> None:
    class Bare:
        def check_extension(self, _capability: int) -> int:
            return 0

    with pytest.raises(KvmUnavailable, match="KVM_CAP_IOEVENTFD"):
        detect_kernel(cast("System", Bare()))
