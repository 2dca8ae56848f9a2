"""How often tracepoints of the kernel under test fire: perf's own counters, which miss nothing.

This runs inside. A counter counts on one CPU, for all processes, from when it is opened; nothing
is written to a trace, so nothing can overflow.
Source: perf_event_open(2), include/uapi/linux/perf_event.h, Documentation/trace/events.rst.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kvmabi.lab.inside.port import Trouble

TRACEFS: Final = Path("/sys/kernel/tracing")
SYS_PERF_EVENT_OPEN: Final = 298
"""Of x86-64. Source: arch/x86/entry/syscalls/syscall_64.tbl."""
PERF_TYPE_TRACEPOINT: Final = 2
PERF_FLAG_FD_CLOEXEC: Final = 8
ATTRIBUTE: Final = struct.Struct("<II Q 48x")
"""struct perf_event_attr as first published: type, size, config; all else 0 means to count."""
COUNT: Final = struct.Struct("<Q")
ANY_PROCESS: Final = -1
NO_GROUP: Final = -1

_libc = ctypes.CDLL(None, use_errno=True)


class Counters:
    """Counts how often each of the tracepoints ("kvm:kvm_fast_mmio") has fired from now on.

    Raises Trouble, with the reason, where the kernel has no such tracepoint or cannot count.
    """

    def __init__(self, events: Sequence[str], tracefs: Path = TRACEFS) -> None:
        self._fds = {
            event: [_open(event, event_id(event, tracefs), cpu) for cpu in _cpus()]
            for event in events
        }

    def counts(self) -> dict[str, int]:
        """Return how often each has fired, on all CPUs together."""
        return {event: sum(map(_read, fds)) for event, fds in self._fds.items()}


def event_id(event: str, tracefs: Path) -> int:
    """Return the number by which the kernel knows a tracepoint; Trouble without one."""
    group, _, name = event.partition(":")
    events = tracefs / "events"
    try:
        return int((events / group / name / "id").read_text())
    except (OSError, ValueError):
        if not events.is_dir():
            why = "it has no tracefs (CONFIG_EVENT_TRACING)"
        else:
            why = f"it has no tracepoint {event} (--trace)"
        raise Trouble(f"this kernel cannot count what was asked for: {why}") from None


def _cpus() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0))


def _open(event: str, number: int, cpu: int) -> int:
    attribute = ATTRIBUTE.pack(PERF_TYPE_TRACEPOINT, ATTRIBUTE.size, number)
    arguments = attribute, ANY_PROCESS, cpu, NO_GROUP, PERF_FLAG_FD_CLOEXEC
    fd = int(_libc.syscall(SYS_PERF_EVENT_OPEN, *arguments))
    if fd < 0:
        why = f"{os.strerror(ctypes.get_errno())} (CONFIG_PERF_EVENTS?)"
        raise Trouble(f"this kernel cannot count the tracepoint {event}: {why}")
    return fd


def _read(fd: int) -> int:
    (count,) = COUNT.unpack(os.read(fd, COUNT.size))
    return int(count)
