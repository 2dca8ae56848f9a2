"""A race to be run in a kernel under test: a guest writes while its ioeventfd comes and goes."""

from __future__ import annotations

import os
import sys
import threading

from kvmabi import uapi
from kvmabi.kvm import System
from kvmabi.vmm import Access, ExerciserMachine

WRITES, BATCHES = 40, 50


def verb(_arguments: object) -> int:
    """Write how often there was a registration, and how many writes exited and signalled."""
    with System.open() as system, ExerciserMachine(system) as machine:
        eventfd = os.eventfd(0, os.EFD_NONBLOCK)
        place = {"addr": machine.bar0_gpa + 0x800, "len": 4, "fd": eventfd}
        done = threading.Event()
        rounds = 0

        def come_and_go() -> None:
            nonlocal rounds
            while not done.is_set():
                for flags in (0, uapi.KVM_IOEVENTFD_FLAG_DEASSIGN):
                    machine.vm.ioeventfd(uapi.kvm_ioeventfd(flags=flags, **place))
                rounds += 1

        other = threading.Thread(target=come_and_go)
        other.start()
        writes = [Access("mmio", place["addr"], 4, True, 1)] * WRITES
        exits = sum(len(machine.perform(writes, deadline_s=600).exits) for _ in range(BATCHES))
        done.set()
        other.join()
        try:
            signals = os.eventfd_read(eventfd)
        except BlockingIOError:
            signals = 0
    sys.stdout.write(f"{rounds} {exits} {signals}\n")
    return 0
