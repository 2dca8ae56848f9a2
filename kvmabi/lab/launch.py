"""A machine with its job: booted, or gone on with from a snapshot, and its results collected."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kvmabi.errors import KernelLost
from kvmabi.lab import cache, klog
from kvmabi.lab.collector import Collector, Terms
from kvmabi.lab.machine import qemu, start
from kvmabi.lab.machine.emulator import Emulator, Machine
from kvmabi.lab.machine.snapshot import Snapshot
from kvmabi.lab.session import Job, Session


@dataclass(frozen=True, slots=True)
class Launch:
    """A machine with its job, to be started in one way or another."""

    machine: Machine
    image: bytes
    job: Job
    deadline_s: float
    log: Path | None

    def run(self, terms: Terms, kept: Snapshot | None) -> int:
        """Return the verb's exit code as its results have it.

        It starts from the snapshot `kept` where there is one, and fills that place where there is
        none; without a place it boots and keeps nothing. KernelLost is raised where the kernel
        goes before there is any record.
        """
        if kept is not None and (about := kept.about) is not None:
            with self.restored(kept, about) as session, Collector(terms) as collector:
                try:
                    return _collect(session, collector)
                except KernelLost as error:
                    if session.heard_anything:
                        raise
                    note(f"the snapshot is of no use ({str(error).partition(';')[0]}); booting")
                    kept.drop()
        with self.booted(kept) as session, Collector(terms) as collector:
            return _collect(session, collector)

    def booted(self, keep: Snapshot | None) -> Session:
        """Return the session of a machine that boots, and is kept once it is ready."""
        if keep is None:
            return self._session(start.boot(self.machine, self.image, self.job.line()))
        emulator = qemu.Emulator(self.machine, self.image)
        return self._session(emulator, when_ready=partial(keep.save, emulator))

    def restored(self, kept: Snapshot, about: Mapping[str, Any]) -> Session:
        """Return the session of a machine that goes on from where it was kept."""
        cache.used(kept.path)
        emulator = qemu.Emulator(self.machine, self.image, kept.path)
        return self._session(emulator, restored=about)

    def _session(
        self,
        emulator: Emulator,
        *,
        restored: Mapping[str, Any] | None = None,
        when_ready: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> Session:
        return Session(
            emulator,
            self.job,
            deadline_s=self.deadline_s,
            boot_deadline_s=self.machine.backend.emulator.boot_deadline_s,
            silence_s=self.machine.backend.emulator.silence_s,
            log=self.log,
            restored=restored,
            when_ready=when_ready,
        )


def _collect(session: Session, collector: Collector) -> int:
    """Return the exit code; KernelLost where the kernel goes before there is any record."""
    try:
        for frame in session.frames():
            collector.take(frame)
    except KernelLost as error:
        if collector.recorder is None:
            raise
        collector.lost(error, klog.running_case(session.console))
    else:
        collector.finish(
            tainted_before=int(session.about.get("tainted", 0)),
            damaged_bytes=session.damaged_bytes,
            carrier=str(session.about.get("carrier", "")),
        )
    collector.close()
    return collector.exit_code


def note(text: str) -> None:
    """Say something of the lab's own, to who is watching."""
    if sys.stderr.isatty():
        sys.stderr.write(f"kvmabi lab: {text}\n")
