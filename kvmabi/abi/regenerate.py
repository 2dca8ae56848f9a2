"""A source of headers -> the files that the repository keeps of it: modules, snapshots, sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from kvmabi.abi import snapshot
from kvmabi.abi.build import read_abi
from kvmabi.abi.emit import OVERLAY_PREFIX, ModuleSource, emit_module
from kvmabi.abi.facts import Facts, facts_of
from kvmabi.arch import ARCHITECTURES
from kvmabi.errors import UsageError
from kvmabi.header import HeaderTree, SourceFile, source_from_bytes
from kvmabi.headersets.collect import Collected, collect
from kvmabi.headersets.installed import COMMON
from kvmabi.headersets.origin import Origin, Source, series_of

OVERLAYS: Final = ("pv-mmio.h",)
SOURCES: Final = "kvmabi/linux_headers/sources.json"
SNAPSHOTS: Final = "kvmabi/linux_headers/snapshots"
_PROJECT: Final = "pyproject.toml"
"""A checkout has it beside the package; where kvmabi is installed, there is none."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Files by their path in the repository, and what they say; `name` is the snapshot's."""

    files: dict[str, str]
    name: str
    version: str
    facts: dict[str, Facts]
    collected: Collected


def generate(source: Source, root: Path) -> Generated:
    """The files that this source gives. The same headers give the same bytes.

    A snapshot always; the modules too unless those of the repository `root` are from a newer
    kernel.
    """
    collected = collect(source)
    name = series_of(collected.version)
    files: dict[str, str] = {}
    with TemporaryDirectory(prefix="kvmabi-headers-") as folder:
        built = list(_build(collected, source.origin, Path(folder), overlay_sources(root)))
    facts = {module.abi.architecture.name: facts_of(module.base) for module in built}
    overlaid = {module.abi.architecture.name: facts_of(module.abi) for module in built}
    if _number(collected.version) >= _number(current_version(root)):
        for module in built:
            files[f"kvmabi/uapi/{module.abi.architecture.name}.py"] = emit_module(module)
        sha256 = _checksums(collected)
        record = {"version": collected.version, "package": source.origin.name, "sha256": sha256}
        files[SOURCES] = json.dumps(record, indent=1) + "\n"
    files[f"{SNAPSHOTS}/{name}.txt"] = snapshot.text_of(facts)
    for overlay in OVERLAYS:
        path = f"{SNAPSHOTS}/{name}+{Path(overlay).stem}.txt"
        files[path] = snapshot.overlay_text(facts, overlaid)
    files[f"{SNAPSHOTS}/{name}.json"] = _record(collected, source.origin)
    return Generated(files, name, collected.version, facts, collected)


def overlay_sources(root: Path) -> list[SourceFile]:
    """The overlays of the repository; UsageError if the folder is no repository of kvmabi."""
    folder = root / "kvmabi" / "linux_headers" / "overlays"
    if not (root / _PROJECT).is_file():
        raise UsageError(
            f"{root} is no checkout of kvmabi: it has no {_PROJECT} (--root names one)"
        )
    try:
        return [
            source_from_bytes((folder / name).read_bytes(), OVERLAY_PREFIX + name)
            for name in OVERLAYS
        ]
    except OSError:
        raise UsageError(f"{root} is no checkout of kvmabi: {folder} lacks an overlay") from None


def current_version(root: Path) -> str:
    """The kernel version that the repository's modules are from; "0" if it has none."""
    try:
        return str(json.loads((root / SOURCES).read_text("utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return "0"


def stale(files: dict[str, str], root: Path) -> list[str]:
    """The paths of those files that are not in the repository as they are here."""
    return [name for name, text in files.items() if _read(root / name) != text]


def write(files: dict[str, str], root: Path) -> None:
    """Write files, each at once."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(text, encoding="utf-8")
        new.replace(path)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _number(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _build(
    collected: Collected, origin: Origin, folder: Path, overlays: list[SourceFile]
) -> Iterator[ModuleSource]:
    collected.write(folder)
    (folder / COMMON).mkdir(exist_ok=True)
    for name in collected.architectures:
        tree = HeaderTree.of(folder / name, folder / COMMON)
        base = read_abi(tree, ARCHITECTURES[name])
        abi = read_abi(tree, ARCHITECTURES[name], overlays=overlays)
        text = f"Linux {collected.version} headers ({origin.name})"
        yield ModuleSource(abi, base, collected.version, text)


def _record(collected: Collected, origin: Origin) -> str:
    record = {
        "version": collected.version,
        "origin": origin.facts(),
        "architectures": list(collected.architectures),
        "absent": collected.absent,
        "sha256": _checksums(collected),
    }
    return json.dumps(record, indent=1) + "\n"


def _checksums(collected: Collected) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in collected.files.items()}
