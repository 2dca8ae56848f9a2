"""Guest runs of several vCPUs at the same time, made again until they did overlap."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from kvmabi.vmm import Batch

TRIES: Final = 8
"""How often runs that came one after the other are made again; a busy machine needs some."""


@dataclass(frozen=True, slots=True)
class Span:
    """One run: when its vCPU was at work (time.monotonic, in seconds), and what came of it."""

    start_s: float
    end_s: float
    batch: Batch


def overlapped(spans: Sequence[Span]) -> bool:
    """Return whether there was a moment at which all were at work."""
    return max(span.start_s for span in spans) < min(span.end_s for span in spans)


def run_at_once(runs: Sequence[Callable[[], Batch]]) -> list[Span]:
    """Make all runs at the same time, each in a thread of its own, and return their spans.

    What one of them raises is raised again here, after all have ended.
    """
    results: dict[int, Span | BaseException] = {}
    start = threading.Barrier(len(runs))

    def go(index: int) -> None:
        try:
            start.wait()
            began = time.monotonic()
            batch = runs[index]()
            results[index] = Span(began, time.monotonic(), batch)
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            results[index] = error

    threads = [threading.Thread(target=go, args=(index,)) for index in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = []
    for index in range(len(runs)):
        result = results[index]
        if isinstance(result, BaseException):
            raise result
        spans.append(result)
    return spans
