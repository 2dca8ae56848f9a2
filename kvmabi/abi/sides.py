"""What a user names -> the facts of a kernel's ABI: a snapshot, headers of any source, or BTF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from kvmabi.abi import snapshot
from kvmabi.abi.build import read_abi
from kvmabi.abi.emit import OVERLAY_PREFIX
from kvmabi.abi.facts import Facts, facts_of
from kvmabi.arch import ARCHITECTURES, Architecture, host
from kvmabi.errors import UsageError
from kvmabi.header import HeaderTree, SourceFile, source_from_bytes
from kvmabi.headersets.collect import collect
from kvmabi.headersets.installed import COMMON
from kvmabi.headersets.origin import Source
from kvmabi.headersets.sources import FORMS, NoSource, open_source
from kvmabi.headersets.store import HeaderSet, default_store

OVERLAYS: Final = snapshot.HEADERS / "overlays"
SIDE_FORMS: Final = f"a snapshot's name, {FORMS}, each with +OVERLAY behind it if wanted"


@dataclass(frozen=True, slots=True)
class Side:
    """The facts of one kernel by architecture, and what to call it.

    `absent` are the architectures that it has no KVM for, and why; `version` is the kernel's, with
    the overlays behind it.
    """

    label: str
    facts: dict[str, Facts]
    absent: dict[str, str]
    version: str = ""


def read_side(text: str, architectures: Sequence[Architecture], store: Path) -> Side:
    """The facts of what a user names; UsageError where there is no such thing.

    `NAME+OVERLAY` reads an overlay behind the headers: one of ours ("pv-mmio") or a file.
    """
    base, overlays = _split(text)
    if base in snapshot.names():
        found = snapshot.load(base, overlays)
        wanted = {a.name for a in architectures}
        facts = {name: one for name, one in found.facts.items() if name in wanted}
        labelled = _labelled(found.version, overlays)
        return Side(f"Linux {labelled}", facts, found.absent, labelled)
    with _opened(base, store) as source:
        more = [overlay_source(name) for name in overlays]
        version, facts, absent = facts_of_source(source, architectures, more, _own(base, store))
    labelled = _labelled(version, overlays)
    return Side(f"{base} (Linux {labelled})", facts, absent, labelled)


def read_host_side(text: str) -> Side:
    """The facts of what a user names as ``--headers`` of the kernel under test, for this host.

    UsageError where it is nothing of the kind, or has no KVM on this architecture.
    """
    here = host()
    side = read_side(text, [here], default_store())
    if here.name not in side.facts:
        raise UsageError(f"{side.label} has no headers of KVM on {here.name}")
    return side


@contextmanager
def _opened(text: str, store: Path) -> Iterator[Source]:
    """As `open_source`, whose error names the snapshots too."""
    with ExitStack() as stack:
        try:
            source = stack.enter_context(open_source(text, store))
        except NoSource as error:
            kept = ", ".join(snapshot.names())
            raise UsageError(f"{error}, or a snapshot: {kept}") from None
        yield source


def _labelled(version: str, overlays: Iterable[str]) -> str:
    return "+".join([version, *overlays])


def _split(text: str) -> tuple[str, list[str]]:
    """A name and its overlays. A `+` in the name of something that exists is no overlay."""
    if Path(text).exists():
        return text, []
    base, *overlays = text.split("+")
    return base, overlays


def _own(text: str, store: Path) -> tuple[SourceFile, ...]:
    """The overlays that an imported set brings along."""
    for folder in (Path(text), store / text):
        if (folder / "source.json").is_file():
            return HeaderSet.load(folder).overlays()
    return ()


def overlay_source(name: str) -> SourceFile:
    """An overlay of ours by its name, or of a file; UsageError if there is none."""
    kept = OVERLAYS / f"{name}.h"
    path = kept if kept.is_file() else Path(name)
    try:
        return source_from_bytes(path.read_bytes(), f"{OVERLAY_PREFIX}{path.name}")
    except OSError:
        ours = OVERLAYS.iterdir() if OVERLAYS.is_dir() else ()
        known = ", ".join(sorted(Path(one.name).stem for one in ours)) or "none"
        raise UsageError(f"{name!r} is no overlay and no file; there are: {known}") from None


def facts_of_source(
    source: Source,
    architectures: Sequence[Architecture] = tuple(ARCHITECTURES.values()),
    overlays: Sequence[SourceFile] = (),
    own: Sequence[SourceFile] = (),
) -> tuple[str, dict[str, Facts], dict[str, str]]:
    """(version, facts by architecture, absent architectures) of a source of headers."""
    collected = collect(source, architectures)
    with TemporaryDirectory(prefix="kvmabi-headers-") as name:
        folder = Path(name)
        collected.write(folder)
        (folder / COMMON).mkdir(exist_ok=True)
        facts = {}
        for arch_name in collected.architectures:
            tree = HeaderTree.of(folder / arch_name, folder / COMMON)
            abi = read_abi(tree, ARCHITECTURES[arch_name], overlays=[*own, *overlays])
            facts[arch_name] = facts_of(abi)
    return collected.version, facts, collected.absent
