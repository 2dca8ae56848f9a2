"""Facts <-> lines of text: the snapshots that the repository keeps of a kernel's ABI.

One fact a line, sorted, behind a letter for each architecture that has it ("xar-plm": all but
s390). An overlay is a file of the lines that it adds ("+") and takes away ("-").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import Any, Final, Literal, cast

from kvmabi.abi.facts import (
    ConstantFact,
    Facts,
    FieldFact,
    FunctionFact,
    IoctlFact,
    RecordFact,
)
from kvmabi.arch import ARCHITECTURES
from kvmabi.errors import AbiError, UsageError

HEADERS: Final[Traversable] = resources.files("kvmabi") / "linux_headers"
"""Data of the package, which may be in an archive: snapshots, overlays, and where they are from."""
FOLDER: Final = HEADERS / "snapshots"
_LETTERS: Final = {name[0]: name for name in ARCHITECTURES}


def lines_of(facts: Facts) -> list[str]:
    """The facts as sorted lines without their line ends."""
    lines: list[str] = []
    for name, record in facts.records.items():
        lines.append(f"{record.kind} {name} {record.size} {record.alignment}")
        lines += [f"field {name} {_place(f)} {path} {f.shape}" for path, f in record.fields.items()]
    lines += [_constant(name, fact) for name, fact in facts.constants.items()]
    for name, ioctl in facts.ioctls.items():
        tail = f" {ioctl.direction} {ioctl.size} {ioctl.argument}" if ioctl.direction else ""
        lines.append(f"ioctl {name} {ioctl.number:#010x}{tail}")
    lines += [f"function {n} {f.digest} {f.parameters}" for n, f in facts.functions.items()]
    lines += [f"opaque {name} {reason}" for name, reason in facts.opaque.items()]
    return sorted(lines)


def _place(fact: FieldFact) -> str:
    bits = f":{fact.bit % 8}" if fact.bit % 8 or fact.bits % 8 else ""
    return f"{fact.bit // 8:#06x}{bits}+{fact.bits / 8:g}"


def _constant(name: str, fact: ConstantFact) -> str:
    value = json.dumps(fact.value) if isinstance(fact.value, str) else str(fact)
    text = "" if fact.value is None else f" {value}"
    return f"{fact.kind} {name}{text}" + (f" = {fact.alias}" if fact.alias else "")


def facts_from(lines: Iterable[str], where: str = "a snapshot") -> Facts:
    """The facts that lines say; AbiError with the line that cannot be read."""
    records: dict[str, RecordFact] = {}
    fields: dict[str, dict[str, FieldFact]] = {}
    facts = Facts(records, {}, {}, {}, {})
    for line in lines:
        try:
            _read(line, facts, fields)
        except (ValueError, IndexError, KeyError):
            raise AbiError(f"{where}: this line is no fact: {line!r}") from None
    for name, found in fields.items():
        if name not in records:
            raise AbiError(f"{where}: fields of {name}, but no such record")
        cast("dict[str, FieldFact]", records[name].fields).update(found)
    return facts


def _read(line: str, facts: Facts, fields: dict[str, dict[str, FieldFact]]) -> None:
    kind, name, *_ = words = line.split(" ")
    rest = line[len(kind) + len(name) + 2 :]
    match kind:
        case "struct" | "union":
            own: dict[str, FieldFact] = {}
            _into(facts.records, name, RecordFact(kind, int(words[2]), int(words[3]), own))
        case "field":
            place, path, text = rest.split(" ", 2)
            where, _, size = place.partition("+")
            byte, _, bit = where.partition(":")
            start = int(byte, 16) * 8 + int(bit or 0)
            fields.setdefault(name, {})[path] = FieldFact(start, round(float(size) * 8), text)
        case "macro" | "enumerator":
            _into(facts.constants, name, _constant_of(kind, rest))
        case "ioctl":
            argument = rest.split(" ", 3)
            number = int(argument[0], 16)
            parts = (argument[1], int(argument[2]), argument[3]) if argument[1:] else ("", 0, "")
            _into(facts.ioctls, name, IoctlFact(number, *parts))
        case "function":
            _into(facts.functions, name, FunctionFact(rest[13:], rest[:12]))
        case "opaque":
            _into(facts.opaque, name, rest)
        case _:
            raise ValueError(kind)


def _into(facts: Mapping[str, Any], name: str, fact: object) -> None:
    cast("dict[str, Any]", facts)[name] = fact


def _constant_of(kind: Literal["macro", "enumerator"], text: str) -> ConstantFact:
    if text.startswith('"'):
        value, end = json.JSONDecoder().raw_decode(text)
        return ConstantFact(kind, str(value), text[end:].removeprefix(" = "))
    number, _, alias = text.partition(" = ")
    hexadecimal = number.lstrip("-").startswith("0x")
    return ConstantFact(kind, int(number, 0) if number else None, alias, hexadecimal)


def text_of(facts: Mapping[str, Facts]) -> str:
    """The text of a snapshot of all these architectures."""
    return "".join(f"{line}\n" for line in _sorted(_letters(facts)))


def overlay_text(base: Mapping[str, Facts], changed: Mapping[str, Facts]) -> str:
    """The text of an overlay's file: what it changes of a snapshot."""
    before, after = _letters(base), _letters(changed)
    minus = {line: letters - after.get(line, set()) for line, letters in before.items()}
    plus = {line: letters - before.get(line, set()) for line, letters in after.items()}
    lines = [f"- {line}" for line in _sorted(minus)] + [f"+ {line}" for line in _sorted(plus)]
    return "".join(f"{line}\n" for line in lines)


def _letters(facts: Mapping[str, Facts]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, own in facts.items():
        for line in lines_of(own):
            found.setdefault(line, set()).add(name[0])
    return found


def _sorted(lines: Mapping[str, set[str]]) -> list[str]:
    return [
        "".join(letter if letter in letters else "-" for letter in _LETTERS) + f" {line}"
        for line, letters in sorted(lines.items())
        if letters
    ]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A kernel's facts by architecture; `absent` are those without KVM there, and why."""

    version: str
    facts: dict[str, Facts]
    absent: dict[str, str]


def names(folder: Traversable = FOLDER) -> list[str]:
    """The names of the snapshots that are kept, oldest first."""
    if not folder.is_dir():
        return []
    files = [PurePath(one.name) for one in folder.iterdir()]
    found = [path.stem for path in files if path.suffix == ".json"]
    return sorted(found, key=numbers)


def nearest(release: str, folder: Traversable = FOLDER) -> str:
    """The newest snapshot that is not newer than a kernel's release, or else the oldest.

    What an older kernel promised, a newer one keeps; so such a snapshot holds word for word.
    AbiError where no snapshot is kept.
    """
    known = names(folder)
    if not known:
        raise AbiError("kvmabi was installed without snapshots of older kernels")
    fitting = [name for name in known if numbers(name) <= numbers(release)]
    return fitting[-1] if fitting else known[0]


def numbers(release: str) -> list[int]:
    """Version and patch level of a release ("6.18.44-fc")."""
    return [int(part) for part in re.findall(r"\d+", release)[:2]]


def load(name: str, overlays: Iterable[str] = (), folder: Traversable = FOLDER) -> Snapshot:
    """The snapshot of a name ("6.1"), with overlays ("pv-mmio"); UsageError if there is none."""
    if name not in names(folder):
        known = ", ".join(names(folder)) or "none"
        raise UsageError(f"there is no snapshot {name!r}; there are: {known}")
    record = json.loads((folder / f"{name}.json").read_text("utf-8"))
    lines: dict[str, set[str]] = {arch: set() for arch in record["architectures"]}
    for line in _lines(folder / f"{name}.txt"):
        for arch in _architectures(line):
            lines[arch].add(line[len(_LETTERS) + 1 :])
    for overlay in overlays:
        path = folder / f"{name}+{overlay}.txt"
        if not path.is_file():
            raise UsageError(f"the snapshot {name} has no overlay {overlay!r}")
        for line in _lines(path):
            for arch in _architectures(line[2:]):
                fact = line[len(_LETTERS) + 3 :]
                lines[arch].discard(fact) if line[0] == "-" else lines[arch].add(fact)
    facts = {arch: facts_from(sorted(own), f"{name}, {arch}") for arch, own in lines.items()}
    return Snapshot(record["version"], facts, record["absent"])


def _architectures(line: str) -> list[str]:
    return [_LETTERS[letter] for letter in line[: len(_LETTERS)] if letter != "-"]


def _lines(path: Traversable) -> list[str]:
    return path.read_text("utf-8").splitlines()
