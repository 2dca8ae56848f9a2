"""`git bisect run` with a step of ours: the ends are checked first, and what was found is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kvmabi.errors import KvmAbiError, LabUnavailable, UsageError
from kvmabi.lab.bisect.group import run_group
from kvmabi.lab.bisect.judge import Answer
from kvmabi.lab.bisect.tree import Git, environment

_FIRST_BAD: Final = re.compile(r"^# first bad commit: (.+)$", re.MULTILINE)
_POSSIBLE: Final = re.compile(r"^# possible first bad commit: (.+)$", re.MULTILINE)
_SKIPPED: Final = re.compile(r"^git bisect skip ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """What git's own log of the bisection says; it can be given to `git bisect replay`."""

    log: str

    @property
    def first_bad(self) -> str:
        """The first bad commit, as "[hash] subject"; "" where it was not found."""
        match = _FIRST_BAD.search(self.log)
        return match[1] if match else ""

    @property
    def candidates(self) -> list[str]:
        """The commits among which it is, where too many had to be skipped."""
        return _POSSIBLE.findall(self.log)

    @property
    def skipped(self) -> int:
        """How many commits were skipped."""
        return len(_SKIPPED.findall(self.log))


@dataclass(frozen=True, slots=True)
class Bisection:
    """A bisection in a checkout of our own.

    `step` is a command that judges what is checked out, by the exit codes of `git bisect run`. What
    it and git print goes to the file `transcript`. `why` returns what the last step's reason was.
    """

    git: Git
    step: Sequence[str]
    transcript: Path
    why: Callable[[], str] = lambda: ""
    env: Mapping[str, str] = field(default_factory=environment)

    def check_end(self, label: str, commit: str, wanted: Answer) -> None:
        """Judge one end, which the user calls `label`; raise unless it is as the user says.

        That is UsageError where it is the other, and LabUnavailable where it cannot be judged.
        """
        self.git("checkout", "--quiet", "--detach", commit)
        answer = answer_of(self._run(self.step))
        why = f": {self.why()}" if self.why() else ""
        if answer is Answer.ABORT:
            raise KvmAbiError(f"{label} could not be tried{why}")
        if answer is Answer.SKIP:
            raise LabUnavailable(f"{label} can be called neither good nor bad{why}")
        if answer is not wanted:
            name = wanted.name.lower()
            raise UsageError(f"{label} is not {name}, so there is no first bad{why}")

    def search(self, good: str, bad: str) -> Found:
        """Return what `git bisect run` finds between two commits whose state is known.

        KvmAbiError where it stops on the way, with the reason.
        """
        self.git("bisect", "start", bad, good)
        if not (found := self.found()).first_bad:
            code = self._run(self.git.command("bisect", "run", *self.step))
            found = self.found()
            if code and not found.candidates:
                raise KvmAbiError(f"git bisect run stopped: {self.why() or f'exit code {code}'}")
        return found

    def found(self) -> Found:
        """Return what is known so far."""
        try:
            return Found(self.git("bisect", "log"))
        except UsageError:  # it has not started
            return Found("")

    def _run(self, command: Sequence[str]) -> int:
        with self.transcript.open("ab") as out:
            return run_group(command, cwd=self.git.folder, out=out, env=self.env)


def answer_of(code: int) -> Answer:
    """Return what git takes an exit code of a step for. Source: git-bisect(1)."""
    if code in (Answer.GOOD, Answer.SKIP):
        return Answer(code)
    return Answer.BAD if 0 < code < Answer.ABORT else Answer.ABORT
