"""``kvmabi lab run``: boot a kernel in an emulator, and run a verb on its KVM."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Final

from kvmabi.arguments import seconds
from kvmabi.errors import UsageError
from kvmabi.ioeventfd.case_log import CASE_LOG
from kvmabi.lab import cache, kernels
from kvmabi.lab.backends import BACKENDS, BOCHS, QEMU, backend, counting
from kvmabi.lab.collector import Terms
from kvmabi.lab.kernels import Kernel
from kvmabi.lab.launch import Launch, note
from kvmabi.lab.machine import snapshot, start
from kvmabi.lab.machine.emulator import BEGINNING, Machine
from kvmabi.lab.nested import resolved
from kvmabi.lab.outputs import check_writable
from kvmabi.lab.rootfs import initramfs
from kvmabi.lab.session import Job
from kvmabi.lab.words import RECORDING, inner_command
from kvmabi.results.record import Json
from kvmabi.results.store import STDOUT

DEFAULT_KERNEL: Final = "debian:6.1"
DEFAULT_BACKEND: Final = "svm"
DEFAULT_SEED: Final = 0
TELLS: Final = {CASE_LOG: "/dev/kmsg"}
"""Has the kernel's log, and its memory of who allocated what, name the cases."""


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
        type=seconds,
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
    parser.add_argument(
        "--swap",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a module (kvm.ko, say) that takes the place of the kernel's own, without another boot"
        " (may be repeated)",
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
    inner = inner_command(args.words)
    if inner.json not in (None, STDOUT):
        check_writable("--json", inner.json)
    seed = _seed_of(args)
    chosen = resolved(backend(args.backend))
    if seed is not None:
        chosen = counting(chosen)
    emulator = start.version(chosen)
    kernel = kernels.find_kernel(args.kernel, args.modules)
    image = initramfs.build(kernel, chosen)
    swapped = initramfs.swapped(kernel, args.swap)
    machine = Machine(chosen, kernel.image, seed=seed)
    note(f"{kernel.source} on {chosen.name} ({chosen.about}, {emulator})")
    terms = Terms(
        json=inner.json,
        repro=f"{_prefix(args)} -- {inner.words[0]} --repro",
        cases=inner.words[0] in RECORDING,
        lab={
            **_what_runs(machine, kernel, emulator),
            "swapped": {name: cache.digest(swapped[name]) for name in swapped},
        },
    )
    now = None if seed is None else BEGINNING.timestamp()
    job = Job(inner.words, TELLS, args.trace, now, swapped, inner.files)
    deadline_s = chosen.emulator.deadline_s if args.deadline is None else args.deadline
    launch = Launch(machine, image, job, deadline_s, _log_file(args.log))
    may_keep = chosen.emulator.keeps and not args.fresh
    return launch.run(terms, snapshot.find(machine, image, emulator) if may_keep else None)


def _what_runs(machine: Machine, kernel: Kernel, emulator: str) -> dict[str, Json]:
    """Return what a result tells of the lab."""
    chosen = machine.backend
    told: dict[str, Json] = {
        "backend": chosen.name,
        "kernel": kernel.source,
        "emulator": emulator,
        "accelerator": chosen.accelerator,
        "cpu": chosen.cpu,
        "carrier": chosen.emulator.carrier.name,
        "module_parameters": chosen.parameters,
    }
    return told if machine.seed is None else {**told, "seed": machine.seed}


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


def _prefix(args: argparse.Namespace) -> str:
    words = ["kvmabi", "lab", "run", "--kernel", args.kernel, "--backend", args.backend]
    if args.modules:
        words += ["--modules", args.modules]
    words += [f"--swap={path}" for path in args.swap]
    if args.deterministic:
        words += ["--deterministic", "--seed", str(_seed_of(args))]
    return shlex.join(words)
