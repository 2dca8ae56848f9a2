"""The step of `kvmabi lab bisect`: judge the commit that is checked out, for `git bisect run`.

``python -m kvmabi.lab.commands.bisect_step PLAN``: no command for people. Every exit code but 0,
125 and those from 128 on would have git call the commit bad, so nothing else may end with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from kvmabi.errors import BuildFailed, KvmAbiError, UsageError
from kvmabi.lab.bisect.judge import Answer, Judgement, judge, of_error, of_exit, of_result
from kvmabi.lab.bisect.tree import Git
from kvmabi.lab.build.builder import Builder
from kvmabi.lab.build.changes import find_change
from kvmabi.lab.build.config import flavour
from kvmabi.lab.commands import run as lab_run
from kvmabi.lab.words import RECORDING
from kvmabi.results import read_result

INTERRUPTED: Final = 128 + 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What every step does. `folder` has its files; `words` are the verb's.

    `log` is a file of the user's that gets what is noted too, as it comes.
    """

    folder: Path
    words: tuple[str, ...]
    backend: str
    flavour: str
    patches: tuple[str, ...]
    jobs: int
    deadline_s: float | None
    log: str | None = None

    @property
    def notes(self) -> Path:
        """The file that gets what the steps have to say, a line each."""
        return self.folder / "notes"

    def write(self) -> Path:
        """Return the file that the plan is written to."""
        path = self.folder / "plan.json"
        path.write_text(json.dumps({**asdict(self), "folder": str(self.folder)}))
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the plan in a file."""
        fields = json.loads(path.read_text())
        for name, make in (("folder", Path), ("words", tuple), ("patches", tuple)):
            fields[name] = make(fields[name])
        return cls(**fields)

    def noted(self) -> list[str]:
        """Return all that was said."""
        return self.notes.read_text().splitlines() if self.notes.is_file() else []

    def write_log(self, text: str) -> None:
        """Add to the user's log, where there is one."""
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write(text)

    def last_note(self) -> str:
        """Return what the last step came to, and why."""
        return next((line.strip() for line in reversed(self.noted())), "")

    def say(self, text: str) -> None:
        """Note a line; a terminal shows it at once."""
        with self.notes.open("a") as file:
            file.write(f"{text}\n")
        self.write_log(f"# {text}\n")
        if sys.stderr.isatty():
            sys.stderr.write(f"{text}\n")


@dataclass(frozen=True, slots=True)
class Step:
    """Builds and runs what is checked out in `git`'s folder."""

    plan: Plan
    git: Git

    def judge(self) -> Judgement:
        """Return what the commit is."""
        self.plan.say(f"looking at {self.git.subject('HEAD')}")
        judgement = judge(self.build, self.run, lambda text: self.plan.say(f"  {text}"))
        self.plan.say(f"  {judgement}")
        return judgement

    def build(self) -> Path:
        """Return the folder of the commit's kernel, built from what the last one left."""
        plan, started = self.plan, time.monotonic()
        builder = Builder(
            self.git.folder, plan.folder / "out", flavour(plan.flavour), jobs=plan.jobs
        )
        with self.patched():
            builder.configure()
            builder.build()
        self.plan.say(f"  built in {time.monotonic() - started:.0f} s")
        return builder.publish(plan.folder / "kernel")

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Change the commit while it is built; BuildFailed where a patch does not fit it."""
        try:
            for name in self.plan.patches:
                find_change(name).make(self.git.folder)
            yield
        except UsageError as error:
            raise BuildFailed(str(error)) from error
        finally:
            if self.plan.patches:
                self.git("reset", "--quiet", "--hard")
                self.git("clean", "--quiet", "-d", "--force")

    def run(self, kernel: Path) -> Judgement:
        """Return what the verb says of a kernel that is built."""
        records, said = self.plan.folder / "records", self.plan.folder / "said"
        records.unlink(missing_ok=True)
        parser = argparse.ArgumentParser()
        lab_run.add_arguments(parser)
        args = parser.parse_args(run_words(self.plan, kernel, records))
        try:
            with sent_to(said):
                code = lab_run.run(args)
        except KvmAbiError as error:
            return of_error(error)
        if records.is_file():
            return of_result(read_result(records))
        return of_exit(code, last_line(said))


def run_words(plan: Plan, kernel: Path, records: Path) -> list[str]:
    """Return what `lab run` is to do; a snapshot of a kernel that goes again would be no use."""
    words = ["--kernel", str(kernel), "--backend", plan.backend, "--fresh"]
    words += [] if plan.deadline_s is None else ["--deadline", str(plan.deadline_s)]
    words += ["--", *plan.words]
    return [*words, "--json", str(records)] if plan.words[0] in RECORDING else words


@contextmanager
def sent_to(path: Path) -> Iterator[None]:
    """Have standard output and error go to a file: also what is written by number."""
    kept = os.dup(1), os.dup(2)
    sys.stdout.flush()
    try:
        with path.open("wb") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, own in zip((1, 2), kept, strict=True):
            os.dup2(own, number)
            os.close(own)


def last_line(path: Path) -> str:
    """Return the last line that was said, or ""."""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def main() -> int:
    """Return what git is to make of the commit; nothing but a bad commit is 1."""
    try:
        plan = Plan.read(Path(sys.argv[1]))
    except Exception:  # noqa: BLE001 (any other end would be a verdict)
        traceback.print_exc()
        return Answer.ABORT
    try:
        return Step(plan, Git(Path.cwd())).judge().answer
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001
        if not isinstance(error, KvmAbiError):
            traceback.print_exc()
        plan.say(f"  abort: {error}")
        return Answer.ABORT


if __name__ == "__main__":
    sys.exit(main())
