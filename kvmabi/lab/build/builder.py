"""One source tree built into one folder by the kernel's own make: configured, checked, incremental.

This is the plain tool beneath ``lab build``: it knows no patches and no cache. A folder that is
given again is brought up to date, which costs what changed.

    builder = Builder(source, out, flavour("tiny"))
    builder.configure()                 # again after a checkout of another commit
    builder.build()                     # or build(MODULES) where only modules' sources changed
    builder.publish(folder)             # what ``lab run --kernel FOLDER`` needs, and no more
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from kvmabi.errors import BuildFailed, UsageError
from kvmabi.lab.build import config
from kvmabi.lab.build.config import Architecture, Flavour
from kvmabi.lab.build.patch import tree_version
from kvmabi.lab.kernels import read_config
from kvmabi.lab.lifeline import end_with

GENERATION: Final = 1
"""Grows when this module makes another kernel of the same source, options and tools."""
MODULES: Final = ("modules",)
LOG: Final = "kvmabi-build.log"
WANTED: Final = "kvmabi-wanted.config"
_BUILT_IN_PLACE: Final = (".config", "include/config", "arch/{}/include/generated")
_TELLING: Final = re.compile(
    r"\berror: |\bError \d|undefined reference|^ERROR: |No space left|No rule to make|^BTF: "
)
_PASSED_ON: Final = re.compile(r"PATH|HOME|TMPDIR|LD_LIBRARY_PATH|PKG_CONFIG_PATH|CCACHE_DIR")
"""What says where tools are and where they may write.

All else (LLVM, KCFLAGS, KCONFIG_CONFIG, GNUMAKEFLAGS, ...) might make another kernel.
"""
_FIXED: Final = {
    "LC_ALL": "C",
    "LOCALVERSION": "",  # no "+" for a commit without a tag
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan 1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "kvmabi",
    "KBUILD_BUILD_HOST": "lab",
    "KBUILD_BUILD_VERSION": "1",
}
"""The same source gives the same kernel, and a second make rebuilds nothing for its date."""


def _no_progress(_line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds `source` into `out`. `progress` gets each line that make prints."""

    source: Path
    out: Path
    flavour: Flavour
    architecture: Architecture = config.X86
    jobs: int = 0
    """How many compilers side by side; 0: one a CPU."""
    progress: Callable[[str], None] = _no_progress

    @property
    def log(self) -> Path:
        """What make printed the last time."""
        return self.out / LOG

    @property
    def image(self) -> Path:
        """The kernel's image, once it is built."""
        return self.out / self.architecture.image

    def configure(self) -> None:
        """Write the configuration for the source as it is now, and check what became of it.

        UsageError for a source that is no kernel tree, or that was built in place (make refuses to
        build elsewhere then); BuildFailed where an option does not come out as wanted.
        """
        options = config.wanted(self.flavour, self.architecture, tree_version(self.source))
        self._check_clean()
        self.out.mkdir(parents=True, exist_ok=True)
        wanted = self.out / WANTED
        wanted.write_text(config.text(options))
        self._make("allnoconfig", f"KCONFIG_ALLCONFIG={wanted.resolve()}")
        wrong = config.not_as_wanted(options, read_config((self.out / ".config").read_text()))
        if wrong:
            lines = "\n  ".join(wrong)
            raise BuildFailed(
                f"{self.source} cannot be configured as {self.flavour.name}; is one of these "
                f"options renamed, or does it depend on another?\n  {lines}"
            )

    def build(self, targets: Sequence[str] = ("bzImage", *MODULES)) -> None:
        """Bring the targets up to date; BuildFailed with the compiler's errors."""
        self._make(*targets)

    def publish(self, folder: Path) -> Path:
        """Return the folder, filled with what a lab needs of the build: no debug information.

        That is the image, the modules with the lists of them, and the configuration, each where a
        built tree has it. Files of an earlier kernel there are replaced.
        """
        shutil.rmtree(folder / "arch", ignore_errors=True)
        order = (self.out / "modules.order").read_text().split()
        modules = [str(Path(line).with_suffix(".ko")) for line in order]
        lists = ("modules.order", "modules.builtin", ".config", "System.map")
        for name in (self.architecture.image, *lists, *modules):
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.out / name, place)
        for name in modules:
            subprocess.run(["strip", "--strip-debug", folder / name], check=True)
        return folder

    def _check_clean(self) -> None:
        for name in _BUILT_IN_PLACE:
            found = self.source / name.format(self.architecture.kernel_name)
            if found.exists():
                raise UsageError(
                    f"{self.source} was built in place ({found.relative_to(self.source)} is "
                    f"there), and the kernel's make refuses to build elsewhere then: `make -C "
                    f"{self.source} mrproper` cleans it, its .config included; or give a copy"
                )

    def _make(self, *words: str) -> None:
        command = [
            "make",
            *("-C", str(self.source), f"O={self.out.resolve()}"),
            f"ARCH={self.architecture.name}",
            f"-j{self.jobs or os.cpu_count() or 1}",
            *words,
        ]
        with self.log.open("wb") as log:
            status = _run(command, log.write, self.progress)
        if status:
            raise BuildFailed(self._what_went_wrong(words[0]))

    def _what_went_wrong(self, target: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        telling = [line for line in lines if _TELLING.search(line)] or lines
        shown = "\n  ".join(line.replace(f"{self.source}/", "") for line in telling[:12])
        return f"make {target} failed; all that it said is in {self.log}:\n  {shown}"


def _run(
    command: Sequence[str], keep: Callable[[bytes], object], progress: Callable[[str], None]
) -> int:
    """Return the exit code of a command whose output goes to both; it ends when we end."""
    passed_on = {name: text for name, text in os.environ.items() if _PASSED_ON.fullmatch(name)}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**passed_on, **_FIXED},
        process_group=0,  # to end every compiler with it
        # make removes what is half made when it is told so
        preexec_fn=partial(end_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 (no lock)
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            keep(line)
            progress(line.decode(errors="replace").rstrip())
        return process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    finally:
        process.stdout.close()
