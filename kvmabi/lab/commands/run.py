"""``kvmabi lab run``: boot a kernel in an emulator, and run a verb on its KVM."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from kvmabi.errors import KernelLost, UsageError
from kvmabi.lab import cache, initramfs, kernels, klog
from kvmabi.lab.backends import BACKENDS, BOCHS, QEMU, backend, counting
from kvmabi.lab.collector import Collector, Terms
from kvmabi.lab.machine import qemu, snapshot, start
from kvmabi.lab.machine.emulator import BEGINNING, Emulator, Machine
from kvmabi.lab.machine.snapshot import Snapshot
from kvmabi.lab.nested import resolved
from kvmabi.lab.session import Job, Session

DEFAULT_KERNEL: Final = "debian:6.1"
DEFAULT_BACKEND: Final = "svm"
DEFAULT_SEED: Final = 0
RECORDING: Final = ("matrix",)
"""The verbs whose --json is a result, case by case; another's goes to its file unread."""
UNRECORDED: Final = frozenset({"--list", "--repro", "--help", "-h"})
"""The options with which such a verb writes no result either."""
CASE_LOG: Final = {"KVMABI_CASE_LOG": "/dev/kmsg"}
JOBS: Final = 1
"""How many VMs side by side: deassign waits for nothing where there is one CPU, so more than one
would only hide which case the kernel's log speaks of."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        "--kernel",
        metavar="KERNEL",
        default=DEFAULT_KERNEL,
        help="debian:VERSION (6.1, or 6.1.0-50 exactly), host (this machine's, from /boot), a "
        "kernel package's .deb, a built kernel tree, or a bzImage (default: %(default)s)",
    )
    parser.add_argument(
        "--modules", metavar="DIR", help="the folder with the kernel's modules, if not its own"
    )
    parser.add_argument(
        "--backend",
        choices=list(BACKENDS),
        default=DEFAULT_BACKEND,
        help="; ".join(f"{one.name}: {one.about}" for one in BACKENDS.values())
        + " (default: %(default)s)",
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=float,
        help="give the kernel up after this time (default: "
        + ", ".join(f"{one.deadline_s:.0f} in {one.name}" for one in (QEMU, BOCHS))
        + ")",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="boot, and keep and use no snapshot of a booted kernel"
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="run the same each time, on a machine whose clocks count instructions (slower)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=_seed,
        help="with --deterministic: start its random numbers here, for another course of events "
        f"(default: {DEFAULT_SEED})",
    )
    parser.add_argument("--log", metavar="FILE", help="keep what the kernel prints")
    parser.add_argument(
        "--trace",
        metavar="EVENT",
        type=tracepoint,
        action="append",
        default=[],
        help="tell how often a tracepoint of the kernel's fired while the verb ran, such as "
        "kvm:kvm_fast_mmio (may be repeated)",
    )
    parser.add_argument(
        "words", nargs="*", metavar="-- VERB", help='the verb with its options, behind "--"'
    )


def tracepoint(text: str) -> str:
    """Return the name of a tracepoint: its group, a colon, and its own."""
    if not re.fullmatch(r"\w+:\w+", text):
        raise argparse.ArgumentTypeError(f"{text!r}: GROUP:NAME is meant, as in kvm:kvm_fast_mmio")
    return text


def run(args: argparse.Namespace) -> int:
    """Carry the subcommand out and return its exit code."""
    words, json = inner_command(args.words)
    chosen, seed = resolved(backend(args.backend)), _seed_of(args)
    if seed is not None:
        chosen = counting(chosen)
    emulator_version = start.version(chosen)
    kernel = kernels.find_kernel(args.kernel, args.modules)
    image = initramfs.build(kernel, chosen)
    machine = Machine(chosen, kernel.image, seed=seed)
    _note(f"{kernel.source} on {chosen.name} ({chosen.about}, {emulator_version})")
    terms = Terms(
        json=json,
        repro=f"{_prefix(args)} -- {words[0]} --repro",
        cases=words[0] in RECORDING,
        lab={
            "backend": chosen.name,
            "kernel": kernel.source,
            "emulator": emulator_version,
            "accelerator": chosen.accelerator,
            "cpu": chosen.cpu,
            "carrier": chosen.emulator.carrier.name,
            "module_parameters": chosen.parameters,
            **({} if seed is None else {"seed": seed}),
        },
    )
    now = None if seed is None else BEGINNING.timestamp()
    job = Job(words, CASE_LOG, args.trace, now)
    deadline_s = chosen.emulator.deadline_s if args.deadline is None else args.deadline
    run = Start(machine, image, job, deadline_s, _log_file(args.log))
    may_keep = chosen.emulator.keeps and not args.fresh
    kept = snapshot.find(machine, image, emulator_version) if may_keep else None
    if kept is not None and (about := kept.about) is not None:
        with run.restored(kept, about) as session, Collector(terms) as collector:
            try:
                return _collect(session, collector)
            except KernelLost as error:
                if session.heard_anything:
                    raise
                _note(f"the snapshot is of no use ({str(error).partition(';')[0]}); booting")
                kept.drop()
    with run.booted(kept) as session, Collector(terms) as collector:
        return _collect(session, collector)


@dataclass(frozen=True, slots=True)
class Start:
    """A machine with its job, to be started in one way or another."""

    machine: Machine
    image: bytes
    job: Job
    deadline_s: float
    log: Path | None

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
            log=self.log,
            restored=restored,
            when_ready=when_ready,
        )


def _seed(text: str) -> int:
    """Return a seed as QEMU takes one; argparse tells what is wrong with any other text."""
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r}: must be 0 to 2^64-1")
    return number


def _seed_of(args: argparse.Namespace) -> int | None:
    """Return the seed of a run that is to be the same each time; None for any other."""
    if args.deterministic:
        return DEFAULT_SEED if args.seed is None else int(args.seed)
    if args.seed is not None:
        raise UsageError("--seed goes with --deterministic")
    return None


def _log_file(name: str | None) -> Path | None:
    """Return the file for the console, empty; UsageError, before anything runs, where it cannot."""
    if not name:
        return None
    path = Path(name)
    try:
        path.write_bytes(b"")
    except OSError as error:
        raise UsageError(f"--log {name}: {error.strerror}") from error
    return path


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
        )
    collector.close()
    return collector.exit_code


def inner_command(words: list[str]) -> tuple[list[str], str | None]:
    """Return the verb's words as they run inside, and the result file that stays outside."""
    if not words:
        raise UsageError("which verb is to run in there? For instance: kvmabi lab run -- matrix")
    if words[0] == "lab":
        raise UsageError("a lab inside a lab would need nested virtualisation twice over")
    kept, json = [], None
    rest = iter(words)
    for word in rest:
        if word == "--json":
            json = next(rest, None)
            if json is None:
                raise UsageError("--json needs a file")
        elif word.startswith("--json="):
            json = word.removeprefix("--json=")
        elif word == "--resume" or word.startswith("--resume="):
            raise UsageError("--resume does not work in the lab")
        else:
            kept.append(word)
    options = {word.partition("=")[0] for word in kept}
    if kept[0] in RECORDING and not options & UNRECORDED:
        if "--jobs" not in options:
            kept += ["--jobs", str(JOBS)]
        kept += ["--json", "@records"]
    elif json is not None:
        kept += ["--json", "-" if json == "-" else "@records"]
    return kept, json


def _prefix(args: argparse.Namespace) -> str:
    words = ["kvmabi", "lab", "run", "--kernel", args.kernel, "--backend", args.backend]
    if args.modules:
        words += ["--modules", args.modules]
    if args.deterministic:
        words += ["--deterministic", "--seed", str(_seed_of(args))]
    return shlex.join(words)


def _note(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"kvmabi lab: {text}\n")
