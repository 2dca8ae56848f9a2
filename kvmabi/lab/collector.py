"""The host's side of a verb that runs in another kernel: its records, its output, its exit code.

Records are kept, counted and shown just as for a run on this machine. What the kernel's log says
is wrong goes to the case that was running; a kernel that is lost is the error of that case.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from kvmabi.errors import ExitCode, KernelLost, UsageError
from kvmabi.ioeventfd.case_log import thread_name
from kvmabi.ioeventfd.promises import PROMISES
from kvmabi.ioeventfd.select import find
from kvmabi.lab.frames import Frame, Kind
from kvmabi.lab.klog import BOOT, Finding, LogReader
from kvmabi.results import CaseRecord, Disagreement, EndRecord, RunRecord, Verdict
from kvmabi.results.record import Json, from_line
from kvmabi.results.recorder import Recorder

CLEAN_LOG: Final = 0
"""The number, beside the promises', of what every case expects of the kernel's log."""
LOST: Final = "the kernel under test was lost"
"""How the problem of such a run begins, and the reason of its last case."""
LOG_PROBLEM: Final = "the kernel's log"
"""How a problem begins that was told there."""
TAINT_PROBLEM: Final = "the kernel's taint"
"""How a problem begins that only the taint tells."""
BEFORE: Final = "before the first case"
ANYONES: Final = "(looked for when all had run: any case may have left this, or the kernel itself)"
"""What is said of leaked memory that no thread of a case's allocated."""
TEXTS: Final = {
    **PROMISES,
    CLEAN_LOG: "The kernel's log stays free of warnings, bugs, stalls and reports of sanitizers.",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What the user asked for: where the result goes, how a case is repeated, what the lab is.

    Without `cases` the verb's --json is no result of records, and goes to its file unread.
    """

    json: str | None
    repro: str
    lab: Mapping[str, Json]
    cases: bool = True


class Collector:
    """Takes a session's frames; a context manager that closes the result."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._stack = ExitStack()
        self._tail = b""
        self._log = LogReader()
        self._held: CaseRecord | None = None
        self._let_gone: dict[str, CaseRecord] = {}
        self._ended: dict[str, Any] = {}
        self._inner_end: EndRecord | None = None
        self._unread = bytearray()
        self.recorder: Recorder | None = None

    def take(self, frame: Frame | None) -> None:
        """Take the next frame; None where there is none, but time has passed."""
        match frame:
            case None:
                if not self._log.goes_on:
                    self._let_go()
                if self.recorder is not None:
                    self.recorder.refresh()
            case Frame(Kind.RECORDS, payload) if not self._terms.cases:
                self._unread += payload
            case Frame(Kind.RECORDS, payload):
                *lines, self._tail = (self._tail + payload).split(b"\n")
                for line in lines:
                    self._record(line)
            case Frame(Kind.LOG, payload):
                self._log.kmsg(payload)
            case Frame(Kind.OUT, payload):
                if self.recorder is None:  # else it is the summary, which is made here
                    self._pass_on(1, payload)
            case Frame(Kind.ERR, payload):
                self._pass_on(2, payload)
            case Frame(Kind.EXIT, payload):
                self._ended = json.loads(payload)

    @staticmethod
    def _pass_on(fd: int, payload: bytes) -> None:
        sys.stdout.flush()
        while payload:
            payload = payload[os.write(fd, payload) :]

    def _record(self, line: bytes) -> None:
        match from_line(line):
            case RunRecord() as run:
                lab = {**self._terms.lab, "repro": self._terms.repro}
                run = replace(run, host={**run.host, "lab": lab})
                recorder = Recorder(
                    run,
                    json=self._terms.json,
                    promises=TEXTS,
                    repro=self._terms.repro,
                    resumable=False,
                )
                self.recorder = self._stack.enter_context(recorder)
            case CaseRecord() as case:
                self._let_go()
                self._held = case
            case EndRecord() as end:
                self._inner_end = end

    def _let_go(self) -> None:
        """Record the case that was held back while the log might still say more of it."""
        if self._held is not None and self.recorder is not None:
            case, self._held = self._held, None
            case = with_findings(case, self._log.take(case.id))
            self.recorder.add(case)
            self._let_gone[case.id] = case

    def lost(self, error: KernelLost, running: str) -> None:
        """Record that the kernel went: the error of the case that was running, and of the run."""
        self._let_go()
        if self.recorder is None:
            return
        self._revise(self.recorder)
        last = next(reversed(self._let_gone), "")
        if running and running not in self.recorder.tally.ids:
            self.recorder.add(lost_case(running, error))
        place = f"after the case {last}" if last else "before its first case ended"
        why = str(error).partition(";")[0]
        self.recorder.problem(f"{LOST} {place}: {why}")

    def finish(self, *, tainted_before: int = 0, damaged_bytes: int = 0, carrier: str = "") -> None:
        """Record what is left, after the last frame: also what the log said behind all cases.

        `carrier` is what the kernel under test says that it sent its frames by.
        A taint that came during the run without a word in the log is a problem of its own, and so
        is what came damaged, or not at all. KernelLost for that where there is no result to note
        it in.
        """
        self._tell_traced()
        overrun = self._ended.get("log_overrun", 0)
        damage = f"{damaged_bytes} bytes of what the kernel under test sent came damaged"
        heard = self._log.heard
        booting = self._log.take(BOOT)
        self._find_who_left_memory()
        self._let_go()
        tainted_before = int(self._ended.get("tainted_before", tainted_before))
        problems = [damage] if damaged_bytes else []
        if self.tainted != tainted_before and not heard:
            before, now = f"{tainted_before:#x}", f"{self.tainted:#x}"
            problems.append(f"{TAINT_PROBLEM} went from {before} to {now}, unexplained")
        if overrun:
            problems.append(f"messages of the kernel's are lost: its log ran over {overrun} times")
        if self.recorder is None:
            self._write_unread()
            self._tell_findings(booting)
            if problems:
                raise KernelLost("; ".join(problems))
            return
        for text in problems:
            self.recorder.problem(text)
        if carrier:
            self.recorder.note("carrier", carrier)
        self._revise(self.recorder)
        for one in self._log.findings:
            place = f"at the case {one.case}, which has no verdict" if one.case else BEFORE
            self.recorder.problem(f"{LOG_PROBLEM}, {place}: {one.title}")
        self.recorder.note("tainted", self.tainted)
        if booting:
            self._note_boot(booting)
        inner = self._inner_end
        if inner is not None and inner.interrupted:  # as --fail-fast does
            self.recorder.cut_short()
        for text in inner.problems if inner else ():
            self.recorder.problem(text)
        if inner is None or self._ended.get("exit", 0) < 0:
            self.recorder.problem(f"the verb did not come to its end: {self._ended}")

    def _find_who_left_memory(self) -> None:
        """Give each leak, which is looked for after all cases, to the case that allocated it."""
        ids = [*self._let_gone, *([self._held.id] if self._held else [])]
        cases = {thread_name(one): one for one in ids}
        for finding in self._log.findings:
            if finding.thread in cases:
                finding.case = cases[finding.thread]
            elif finding.thread:
                finding.lines.append(ANYONES)

    def _revise(self, recorder: Recorder) -> None:
        """Record those cases anew that have findings which came once they were recorded."""
        for case_id in dict.fromkeys(one.case for one in self._log.findings):
            if before := self._let_gone.get(case_id):
                recorder.revise(before, with_findings(before, self._log.take(case_id)))

    def _write_unread(self) -> None:
        """Write the verb's own JSON, which is of use only as a whole."""
        if self._unread and self._terms.json is not None:
            try:
                Path(self._terms.json).write_bytes(self._unread)
            except OSError as error:
                raise UsageError(f"--json {self._terms.json}: {error.strerror}") from error

    def _tell_traced(self) -> None:
        """Keep, and tell, how often the tracepoints fired that the user named."""
        traced: dict[str, Json] = self._ended.get("traced", {})
        for event, count in traced.items():
            sys.stderr.write(f"kvmabi lab: {event} fired {count} times\n")
        if traced and self.recorder is not None:
            self.recorder.note("traced", traced)

    def _tell_findings(self, booting: Sequence[Finding]) -> None:
        """Tell what is wrong by the log of a kernel whose verb has no result to keep it in."""
        if booting:
            self._note_boot(booting)
        for one in self._log.findings:
            text = "\n  ".join(one.lines)
            sys.stderr.write(f"kvmabi lab: {LOG_PROBLEM}: {text}\n")

    def _note_boot(self, findings: Sequence[Finding]) -> None:
        """Keep, and tell, what went wrong before KVM was there; it is no verdict about KVM."""
        titles: list[Json] = [one.title for one in findings]
        if self.recorder is not None:
            self.recorder.note("boot_warnings", titles)
        for title in titles:
            sys.stderr.write(f"kvmabi lab: note: the kernel's log, before KVM was there: {title}\n")

    @property
    def exit_code(self) -> int:
        """The run's exit code, once the block is left.

        It is the verb's own where that makes no result, but what the log finds wrong is not kept.
        """
        if self.recorder is not None:
            return self.recorder.exit_code
        code = int(self._ended.get("exit", ExitCode.HARNESS_FAILED))
        if code == ExitCode.KEPT and self._log.findings:
            return ExitCode.BROKEN
        return code if code >= 0 else ExitCode.HARNESS_FAILED

    @property
    def tainted(self) -> int:
        """The kernel's taint bits when the verb had ended."""
        return int(self._ended.get("tainted", 0))

    def close(self) -> None:
        """Write the end of the result, and print the summary."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._let_go()  # after Ctrl-C, say
        finally:
            self._stack.__exit__(kind, error, trace)


def with_findings(case: CaseRecord, findings: list[Finding]) -> CaseRecord:
    """Return the case with what the log said at it: that is a failure, whatever else it was."""
    if not findings:
        return case
    seen = tuple(
        Disagreement(LOG_PROBLEM, CLEAN_LOG, "nothing", "\n".join(one.lines)) for one in findings
    )
    return replace(
        case,
        verdict=Verdict.FAIL,
        promises=tuple(dict.fromkeys([*case.promises, CLEAN_LOG])),
        disagreements=(*case.disagreements, *seen),
    )


def lost_case(case_id: str, error: KernelLost) -> CaseRecord:
    """Return the record of the case in which the kernel went."""
    bus, length, phase = _place(case_id)
    return CaseRecord(
        id=case_id,
        verdict=Verdict.ERROR,
        seconds=0.0,
        bus=bus,
        len=length,
        phase=phase,
        reason=f"{LOST} in this case: {error}",
    )


def _place(case_id: str) -> tuple[str, str, str]:
    try:
        case = find(case_id)
    except UsageError:
        return "?", "?", "?"
    return case.bus, case.len, case.phase
