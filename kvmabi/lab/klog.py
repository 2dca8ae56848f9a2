"""The kernel's log as a result: which messages are findings, and at which case they came.

The cases' own marks stand in the log: whoever plays a case writes its id there as it starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from kvmabi.ioeventfd.case_log import MARK

BOOTED: Final = "kvmabi: the kernel has booted"
"""What stands in the log before KVM's modules are loaded."""
BOOT: Final = "(boot)"
"""The case of all that the log says before that."""
LONGEST: Final = 60
"""How many lines of a finding are kept."""
LAST_WORDS: Final = 24

_FINDING: Final = re.compile(
    r"\bWARNING: |\bBUG[: ]|Oops: |general protection fault|(KA|KC|UB)SAN: |"
    r"INFO: (possible|inconsistent|suspicious|task .* blocked|rcu_|trying to register)|"
    r"KFENCE: |rcu: INFO: |self-detected stall|refcount_t: |list_(add|del) corruption|"
    r"unreferenced object 0x|Kernel panic|soft lockup|hard LOCKUP|"
    r"DEBUG_LOCKS_WARN_ON|[Bb]ad page state|[Ss]lab .*corruption|[Oo]verwritten|double fault",
)
_HARMLESS: Final = re.compile(r"ACPI BUG|\[Firmware Bug\]|Spectre|MDS|unprivileged eBPF")
"""What a distribution's kernel says in an emulator at boot, or on any such CPU."""
_END: Final = re.compile(r"---\[ end (trace|Kernel panic)")
_LEAK: Final = "unreferenced object 0x"
_ALLOCATED_BY: Final = re.compile(r'\s*comm "(.*)", pid \d+, ')
"""The second line of kmemleak's report. Source: mm/kmemleak.c, print_unreferenced."""
_CONSOLE_TIME: Final = re.compile(r"^\[\s*\d+\.\d+\](\[[^\]]*\])?\s?")


@dataclass(slots=True)
class Finding:
    """Something bad in the log. `case` is the one that had started last, "" before the first.

    It is BOOT where the kernel had not yet come to loading KVM.
    """

    case: str
    lines: list[str] = field(default_factory=list)
    thread: str = ""
    """Of memory that has leaked: the name that the thread had which allocated it."""

    @property
    def title(self) -> str:
        """The line that tells what it is."""
        return self.lines[0]


class LogReader:
    """Takes messages as they come, and keeps the findings with the case at which each came."""

    def __init__(self) -> None:
        self.case = BOOT
        self.findings: list[Finding] = []
        self.heard = 0
        """How many findings there were since the boot, also those that were taken."""
        self._open: Finding | None = None

    def kmsg(self, data: bytes) -> None:
        """Take messages as /dev/kmsg gives them: a header up to ";", and the text."""
        for line in data.decode("utf-8", "replace").splitlines():
            if line.startswith(" "):  # a dictionary of the message before it
                continue
            self.message(line.partition(";")[2])

    def message(self, text: str) -> None:
        """Take one message."""
        if text.startswith(MARK):
            self.case = text.removeprefix(MARK).strip()
            self._open = None
        elif text == BOOTED:
            self.case = ""
            self._open = None
        elif self._open is not None and not text.startswith(_LEAK):  # one report ends another
            self._go_on(self._open, text)
        elif is_finding(text):
            self._open = Finding(self.case, [text])
            self.findings.append(self._open)
            self.heard += self.case != BOOT

    @property
    def goes_on(self) -> bool:
        """Whether the next message may belong to the finding before it."""
        return self._open is not None

    def _go_on(self, finding: Finding, text: str) -> None:
        finding.lines.append(text)
        if finding.title.startswith(_LEAK) and (by := _ALLOCATED_BY.match(text)):
            finding.thread = by[1]
        if _END.search(text) or len(finding.lines) >= LONGEST:
            self._open = None

    def take(self, case: str) -> list[Finding]:
        """Return the findings of one case, and forget them."""
        taken = [one for one in self.findings if one.case == case]
        self.findings = [one for one in self.findings if one.case != case]
        return taken


def is_finding(text: str) -> bool:
    """Return whether a message says that something is wrong with the kernel."""
    return bool(_FINDING.search(text)) and not _HARMLESS.search(text)


def messages(console: str) -> Iterator[str]:
    """Yield a console's lines without the kernel's times."""
    for line in console.splitlines():
        text = _CONSOLE_TIME.sub("", line.replace("\r", ""))
        if text.strip():
            yield text


def running_case(console: str) -> str:
    """Return the id of the case that had started last, as the console tells, or ""."""
    marks = [text for text in messages(console) if text.startswith(MARK)]
    return marks[-1].removeprefix(MARK).strip() if marks else ""


def last_words(console: str) -> Sequence[str]:
    """Return the lines that tell why a kernel went: from its first finding in the last case on."""
    said: list[str] = []
    for text in messages(console):
        if text.startswith(MARK):
            said.clear()
        else:
            said.append(text)
    for at, text in enumerate(said):
        if is_finding(text):
            return said[at : at + LAST_WORDS]
    return said[-LAST_WORDS:]
