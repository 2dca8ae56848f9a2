"""A kernel from a source, changes and a flavour: found in the cache, or built into it.

A kernel is kept under a name that stands for all that went into it, and needs its source no more.
Beneath, each source and flavour has a workspace, where the next build costs what differs.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.errors import UsageError
from kvmabi.lab import cache
from kvmabi.lab.build import builder, config, listing, tools
from kvmabi.lab.build.builder import Builder
from kvmabi.lab.build.changes import Change
from kvmabi.lab.build.config import Flavour
from kvmabi.lab.build.listing import Listing
from kvmabi.lab.build.patch import tree_version
from kvmabi.lab.build.sources import Source
from kvmabi.lab.build.workspace import Workspace

ABOUT: Final = "kvmabi-build.json"
KEPT_KERNELS: Final = 16
KEPT_WORKSPACES: Final = 8
"""Of 1 to 2 GB each: two sources in two flavours, for builds and for seeded faults."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a kernel is made of. `say` gets a line at each stage, `progress` each line of make."""

    source: Source
    changes: tuple[Change, ...]
    flavour: Flavour
    jobs: int
    say: Callable[[str], None]
    progress: Callable[[str], None]

    def workspace(self) -> Workspace:
        """Return where kernels of this source and flavour are built."""
        key = cache.digest(str(self.source.tree), self.flavour.name)
        return Workspace(cache.folder("builds") / key)

    def files(self, known: Listing) -> Listing:
        """Return what is in the source; a tree that never changes is looked at once."""
        if not self.source.content:
            return listing.listing(self.source.tree, known)
        return known or listing.names(self.source.tree)

    def check_unchanged(self, files: Listing) -> None:
        """Raise UsageError unless the source still is what it was when it was listed.

        The private tree is made of links to it, and an editor may write through them.
        """
        now = self.files(files)
        changed = [name for name, one in files.items() if now.get(name) != one]
        if changed:
            more = f" and {len(changed) - 1} more" if changed[1:] else ""
            raise UsageError(
                f"{self.source.label} changed while it was built ({changed[0]}{more}): start "
                "again; what did not change is built already"
            )

    def key(self, files: Listing) -> str:
        """Return the name of all that goes into the kernel."""
        options = config.wanted(self.flavour, config.X86, tree_version(self.source.tree))
        return cache.digest(
            self.source.content or listing.content_of(files),
            *(one.content for one in self.changes),
            config.text(options),
            tools.versions(self.flavour),
            str(builder.GENERATION),
        )


def build(recipe: Recipe, out: Path | None = None) -> Path:
    """Return the folder of the kernel, ready for ``lab run --kernel``; built where it is not kept.

    `out` gets a copy of its own, beside what else is there. Raises ToolMissing, UsageError and
    BuildFailed.
    """
    tools.check(recipe.flavour)
    workspace = recipe.workspace()
    workspace.folder.mkdir(parents=True, exist_ok=True)
    cache.used(workspace.folder)  # it is none of the old ones from now on
    with workspace.locked(lambda: recipe.say("waiting for another build of this source")):
        files = recipe.files(workspace.known())
        kernel = cache.folder("built") / recipe.key(files)
        if kernel.is_dir():
            recipe.say("nothing changed since it was built")
        else:
            _build(recipe, workspace, files, kernel)
    cache.used(kernel)
    return kernel if out is None else _copied(kernel, out)


def follow(recipe: Recipe, workspace: Workspace, files: Listing) -> None:
    """Make the workspace's private tree the source with the changes, and nothing else."""

    def change(tree: Path, written: set[str]) -> None:
        for one in recipe.changes:
            written |= one.files()
            one.make(tree)

    workspace.update(recipe.source.tree, files, change)


def _build(recipe: Recipe, workspace: Workspace, files: Listing, kernel: Path) -> None:
    started = time.monotonic()
    recipe.say(f"bringing a private copy of {recipe.source.label} up to date")
    follow(recipe, workspace, files)
    recipe.say(f"building in {workspace.out}")
    make = Builder(
        workspace.source, workspace.out, recipe.flavour, jobs=recipe.jobs, progress=recipe.progress
    )
    make.configure()
    make.build()
    with cache.whole_folder(kernel) as fresh:
        make.publish(fresh)
        (fresh / ABOUT).write_text(json.dumps(_about(recipe), indent=2) + "\n")
        recipe.check_unchanged(files)
    recipe.say(f"built in {time.monotonic() - started:.0f} s")
    _sweep()


def _about(recipe: Recipe) -> dict[str, object]:
    return {
        "source": recipe.source.label,
        "version": ".".join(map(str, tree_version(recipe.source.tree))),
        "patches": [one.label for one in recipe.changes],
        "flavour": recipe.flavour.name,
        "tools": tools.versions(recipe.flavour).splitlines(),
    }


def _copied(kernel: Path, out: Path) -> Path:
    """Return `out`, which then holds the kernel as well; with a mix in it, it has no ABOUT."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".new-") as made:
            fresh, old = Path(made, "fresh"), Path(made, "old")
            old.mkdir()
            shutil.copytree(kernel, fresh)
            others = [one.name for one in fresh.iterdir() if one.name != ABOUT]
            for name in (ABOUT, *others):
                with suppress(FileNotFoundError):
                    (out / name).rename(old / name)
            for name in (*others, ABOUT):
                (fresh / name).rename(out / name)
    except OSError as error:
        raise UsageError(
            f"cannot copy the kernel {kernel} to {out}: {error.strerror or error}"
        ) from error
    return out


def _sweep() -> None:
    for path in cache.unused(cache.folder("built"), "[!.]*", KEPT_KERNELS):
        shutil.rmtree(path, ignore_errors=True)
    for path in cache.unused(cache.folder("builds"), "[!.]*", KEPT_WORKSPACES):
        Workspace(path).remove()
