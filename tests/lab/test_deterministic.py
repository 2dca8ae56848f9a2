"""The same seed, the same course of events: a race that was seen is seen again."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from kvmabi.lab import kernels
from kvmabi.lab.archive import Entry
from kvmabi.lab.backends import backend, counting
from kvmabi.lab.frames import Kind
from kvmabi.lab.machine import start
from kvmabi.lab.machine.emulator import BEGINNING, Machine
from kvmabi.lab.rootfs import cpio, initramfs
from kvmabi.lab.session import Job, Session

pytestmark = [pytest.mark.lab, pytest.mark.lab_full]

RACE = Path(__file__).with_name("race.py")
INIT = """\
#!/usr/bin/{python} -ISB
import sys
sys.path.insert(0, "/kvmabi")
from kvmabi.lab.inside import init as inside
inside._verb_main = lambda: __import__("race").verb
inside.main()
"""


def race(seed: int) -> tuple[tuple[int, int, int], str]:
    """The counts of one race, and all that the kernel printed."""
    svm = counting(backend("svm"))
    kernel = kernels.find_kernel("debian:6.1")
    python = initramfs.Userland().python
    files = [
        Entry("init", 0o755, INIT.format(python=python).encode()),
        Entry("kvmabi/race.py", 0o644, RACE.read_bytes()),
    ]
    image = initramfs.build(kernel, svm) + cpio.archive(files)
    machine = Machine(svm, kernel.image, seed=seed)
    job = Job(["race"], now=BEGINNING.timestamp())
    emulator = start.boot(machine, image, job.line())
    with Session(emulator, job, deadline_s=1200, boot_deadline_s=600) as session:
        frames = list(filter(None, session.frames()))
        said = b"".join(one.payload for one in frames if one.kind in (Kind.OUT, Kind.ERR))
        rounds, exits, signals = map(int, said.split())
        return (rounds, exits, signals), session.console


seen = cache(race)


def test_a_race_goes_the_same_way_twice() -> None:
    first, second = seen(2), race(2)
    assert first == second
    rounds, exits, signals = first[0]
    assert exits + signals == 40 * 50
    assert min(rounds, exits, signals) > 0  # else nothing raced


def test_another_seed_goes_another_way() -> None:
    assert seen(3)[0] != seen(2)[0]
