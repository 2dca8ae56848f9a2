"""One fault's trial: planted in a private source, built, booted, and looked for by the matrix."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from kvmabi.errors import BuildFailed, LabUnavailable, ResultError, UsageError
from kvmabi.lab import cache
from kvmabi.lab.build import builder, config, listing
from kvmabi.lab.build.builder import Builder
from kvmabi.lab.build.changes import Change, PatchChange, find_change
from kvmabi.lab.build.listing import Listing
from kvmabi.lab.build.sources import Source
from kvmabi.lab.build.workspace import Workspace
from kvmabi.lab.child import Child, Task
from kvmabi.lab.kernels import find_kernel
from kvmabi.lab.mutation.faults import Fault, Needs
from kvmabi.lab.mutation.verdict import Judgement, Outcome, judge, recurring
from kvmabi.results import Verdict
from kvmabi.results.store import Result, read_result

DEADLINE_S: Final = 7200.0
"""How long one run may take, on a machine that has other things to do as well."""
WHOLE: Final = ("bzImage", *builder.MODULES)
AT_ONCE: Final = 25
"""How many cases are asked for by name in one run: an emulated kernel is slow to find them."""
KVM: Final = ("virt/kvm/", "arch/x86/kvm/")
"""Where a change concerns KVM's modules alone."""


FAULTY_IMAGE: Final = "faulty-image"
"""A mark: the last fault was in the image, which the next build must make anew as well."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where faults of a kind are looked for.

    With `swaps`, a fault in KVM's modules needs no boot. Without `whole`, only the cases are played
    that the fault names: the others would take hours. `patch` names one of ours, which the kernel
    without a fault has as well.
    """

    flavour: str
    backend: str
    swaps: bool = True
    whole: bool = True
    patch: str = ""

    @property
    def kernel(self) -> str:
        """What is built without a fault: grounds of one kernel may share a folder."""
        return f"{self.flavour}-{self.patch}" if self.patch else self.flavour

    def changes(self) -> list[Change]:
        """Return what the kernel has of ours without a fault."""
        return [find_change(self.patch)] if self.patch else []


GROUNDS: Final[Mapping[Needs, Ground]] = MappingProxyType(
    {
        Needs.SVM: Ground("tiny", "svm"),
        Needs.VMX: Ground("tiny", "vmx", swaps=False, whole=False),
        Needs.DEBUG: Ground("debug", "svm", whole=False),
        Needs.PV_MMIO: Ground("tiny", "svm", patch="pv-mmio"),
    }
)
"""What is not here cannot be seen by the matrix."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial that ended: what became of the fault, and how long building and running took."""

    judgement: Judgement
    build_s: float = 0.0
    run_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Site:
    """A ground with the folder where its kernels are built, of a private copy of the source.

    The copy follows the source: a fault in it is gone with the next build, however this one ends.
    All that a campaign makes lies in that folder, which is `held` for as long as it lasts.
    """

    source: Source
    ground: Ground
    workspace: Workspace
    jobs: int = 0

    @property
    def builder(self) -> Builder:
        """What builds the private copy."""
        kind = config.flavour(self.ground.flavour)
        return Builder(self.workspace.source, self.workspace.out, kind, jobs=self.jobs)

    @property
    def sound(self) -> Path:
        """The folder of the kernel without a fault, once the site is prepared."""
        return self.workspace.folder / "sound"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other campaigns out of the folder; LabUnavailable where one is in it."""
        with self.workspace.locked(self._in_use):
            cache.used(self.workspace.folder)  # it is none of the old ones from now on
            yield

    def _in_use(self) -> None:
        raise LabUnavailable(
            f"another campaign is at work in {self.workspace.folder}: wait for its end, or give "
            "this one a folder of its own (--work DIR)"
        )

    def prepare(self) -> None:
        """Build the kernel without a fault: all of it the first time, then what has changed."""
        self._plant(None)
        self.builder.configure()
        self.builder.build()
        (self.workspace.folder / FAULTY_IMAGE).unlink(missing_ok=True)
        self.builder.publish(self.sound)

    def try_fault(self, fault: Fault) -> Ended:
        """Return what becomes of a fault, once the site is prepared."""
        started = time.monotonic()
        try:
            kernel = self._built(fault)
        except BuildFailed as error:
            return Ended(Judgement(Outcome.NOT_BUILT, text=str(error)), _since(started))
        except UsageError as error:
            return Ended(Judgement(Outcome.INVALID, text=str(error)), _since(started))
        build_s, started = _since(started), time.monotonic()
        judged = self._look(kernel, fault)
        if judged.may_be_chance:
            judged = recurring(judged, self._look(kernel, fault))
        return Ended(judged, build_s, _since(started))

    def _look(self, kernel: Path, fault: Fault) -> Judgement:
        run = self._matrix(self._start(kernel), matrix_options(fault, self.ground))
        return judge(*run, fault.promise)

    def look_unchanged(self, fault: Fault) -> Judgement:
        """Return what the kernel without a fault is judged by, where this one is likely to show."""
        options = [f"--filter={pattern}" for pattern in fault.look]
        return judge(*self._matrix(self._start(self.sound), options))

    def play_unchanged(self, cases: Sequence[str]) -> dict[str, Verdict]:
        """Return the verdicts of cases, by id, on the kernel without a fault.

        What is not in there was not played.
        """
        found: dict[str, Verdict] = {}
        for at in range(0, len(cases), AT_ONCE):
            options = [f"--filter={case}" for case in cases[at : at + AT_ONCE]]
            result = self._matrix(self._start(self.sound), options)[1]
            found |= {case.id: case.verdict for case in result.cases} if result else {}
        return found

    def _built(self, fault: Fault) -> Path:
        """Return the folder of the kernel with a fault, which the next one takes over."""
        self._plant(fault)
        wanted = targets(fault.files)
        image = self.workspace.folder / FAULTY_IMAGE
        whole = wanted == WHOLE or image.exists()
        if wanted == WHOLE:
            image.touch()
        self.builder.build(WHOLE if whole else wanted)
        if wanted != WHOLE:
            image.unlink(missing_ok=True)
        return self.builder.publish(self.workspace.folder / "faulty")

    def _start(self, kernel: Path) -> list[str]:
        """Return the lab's options that run a kernel: the sound one's boot, if that is enough."""
        changed = modules_that_differ(self.sound, kernel)
        if not self.ground.swaps or changed is None:
            return ["--kernel", str(kernel), "--fresh"]
        return ["--kernel", str(self.sound), *(f"--swap={path}" for path in changed)]

    def _plant(self, fault: Fault | None) -> None:
        changes = [*self.ground.changes(), *([PatchChange(fault.patch)] if fault else [])]

        def change(tree: Path, written: set[str]) -> None:
            for one in changes:
                written |= one.files()
                one.make(tree)

        self.workspace.update(self.source.tree, self._files(), change)

    def _files(self) -> Listing:
        known = self.workspace.known()
        if self.source.content:  # a tree that never changes
            return known or listing.names(self.source.tree)
        return listing.listing(self.source.tree, known)

    def _matrix(
        self, start: Sequence[str], options: Sequence[str]
    ) -> tuple[int, Result | None, str]:
        """Return the lab's exit code, its result (None where it wrote none), and its stderr."""
        path = self.workspace.folder / "matrix.jsonl"
        path.unlink(missing_ok=True)
        lab = [*start, "--backend", self.ground.backend]
        lab += ["--deadline", str(DEADLINE_S), "--log", str(path.with_name("console.txt"))]
        words = ("lab", "run", *lab, "--", "matrix", "--json", str(path), *options)
        task = Task("matrix", words, path.with_suffix(".out"), path.with_suffix(".err"))
        with Child(task) as run:
            code = run.wait()
        try:
            result = read_result(path)
        except ResultError:
            result = None
        return code, result, task.said


def own_workspace(source: Source, ground: Ground) -> Workspace:
    """Return where campaigns build a source for a ground: no other build comes in between."""
    key = cache.digest(str(source.tree), ground.kernel, "faults")
    return Workspace(cache.folder("builds") / key)


def targets(files: Sequence[str]) -> tuple[str, ...]:
    """Return what make is to build after these files, of the tree, have changed."""
    return builder.MODULES if all(name.startswith(KVM) for name in files) else WHOLE


def modules_that_differ(sound: Path, other: Path) -> list[Path] | None:
    """Return the other kernel's modules that are not the sound one's; None for another image."""
    ours, theirs = find_kernel(str(sound)), find_kernel(str(other))
    if ours.image.read_bytes() != theirs.image.read_bytes():
        return None
    return [
        path
        for name, path in sorted(theirs.modules.items())
        if path.read_bytes() != ours.modules[name].read_bytes()
    ]


def matrix_options(fault: Fault, ground: Ground) -> list[str]:
    """Return the options with which the matrix looks for a fault: where it may show comes first."""
    places = "--first" if ground.whole else "--filter"
    return ["--fail-fast", *(f"{places}={pattern}" for pattern in fault.look)]


def _since(started: float) -> float:
    return time.monotonic() - started
