"""Results: one record a case, JSON lines as the source, and everything else derived from them.

`Recorder` is what a verb uses. `read_result` gives a file's records to whoever derives another
format from them. Importing this package is cheap: the terminal is loaded by `Recorder` alone.
"""

from __future__ import annotations

from kvmabi.results.record import CaseRecord, Disagreement, EndRecord, RunRecord, Verdict
from kvmabi.results.store import Result, Writer, read_result
from kvmabi.results.tally import Tally

__all__ = [
    "CaseRecord",
    "Disagreement",
    "EndRecord",
    "Result",
    "RunRecord",
    "Tally",
    "Verdict",
    "Writer",
    "read_result",
]
