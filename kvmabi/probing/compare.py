"""What one kernel's KVM has that another's has not, from their reports."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from kvmabi.probing.report import Json, Report
from kvmabi.probing.run import SECTIONS
from kvmabi.probing.show.head import headline, show_module
from kvmabi.probing.show.model import Fact

OF_THE_CPU: Final = ("cpuid", "msrs")
"""Sections that another CPU changes, whatever the kernel does."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; `old` and `new` are as people read them."""

    section: str
    label: str
    old: str
    new: str


@dataclass(slots=True)
class Comparison:
    """The changes from `older` to `newer`, and the sections that could not be compared."""

    older: str
    newer: str
    lost: list[Change] = field(default_factory=list)
    gained: list[Change] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    by_cpu: list[Change] = field(default_factory=list)
    """Of sections that depend on the CPU, where the two CPUs differ: no loss of the kernel's."""
    not_compared: list[str] = field(default_factory=list)
    compared: int = 0

    def to_json(self) -> Json:
        """The comparison as JSON: lists of changes."""
        lists = {
            name: [
                {"section": one.section, "what": one.label, "old": one.old, "new": one.new}
                for one in changes
            ]
            for name, changes in self._lists()
        }
        return {
            "type": "probe-comparison",
            "schema": 1,
            "older": self.older,
            "newer": self.newer,
            **lists,
            "not_compared": self.not_compared,
            "compared": self.compared,
        }

    def _lists(self) -> list[tuple[str, list[Change]]]:
        return [
            ("lost", self.lost),
            ("gained", self.gained),
            ("changed", self.changed),
            ("by_cpu", self.by_cpu),
        ]


def in_order(one: Report, other: Report) -> tuple[Report, Report]:
    """(older, newer): by kernel release, and by the time of the report where that is the same."""
    first, second = sorted((one, other), key=lambda each: (_release(each), each.started))
    return first, second


def _release(report: Report) -> tuple[int, ...]:
    """The release's numbers; a release candidate comes before its release."""
    text = report.kernel_release
    head = re.match(r"[\d.]+", text)
    numbers = [int(part) for part in head[0].split(".") if part] if head else []
    candidate = re.search(r"-rc(\d+)", text)
    rank = int(candidate[1]) if candidate else 1 << 16
    return (*numbers, *[0] * (4 - len(numbers)), rank)


def compare(older: Report, newer: Report) -> Comparison:
    """What changed from the older report's kernel to the newer's."""
    result = Comparison(_describe(older), _describe(newer))
    same_cpu = _cpu(older) == _cpu(newer)
    for name in [kind.name for kind in SECTIONS]:
        sections = older.sections.get(name), newer.sections.get(name)
        if not any(sections):
            continue
        reasons = [
            f"{side} report: {section.reason or section.status}"
            if section
            else f"not in the {side}"
            for side, section in zip(("older", "newer"), sections, strict=True)
            if not (section and section.status == "ok")
        ]
        if reasons:
            result.not_compared.append(f"{name} ({'; '.join(reasons)})")
            continue
        module = show_module(name)
        foreign = name in OF_THE_CPU and not same_cpu
        old_facts, new_facts = module.facts(older.data(name)), module.facts(newer.data(name))
        _compare_facts(name, old_facts, new_facts, result, by_cpu=foreign)
    for changes in (result.lost, result.gained, result.changed):
        changes[:] = _joined(changes)
    return result


def _joined(changes: list[Change]) -> list[Change]:
    """The changes, where one of the system and the same of a VM are a single one."""
    found: dict[tuple[str, ...], Change] = {}
    for one in changes:
        base = one.label.removesuffix(" (system)").removesuffix(" (vm)")
        key = (one.section, base, one.old, one.new)
        found[key] = replace(one, label=base) if key in found else one
    return list(found.values())


def _describe(report: Report) -> str:
    return f"{headline(report)} ({report.started})"


def _cpu(report: Report) -> tuple[str, ...]:
    cpu = report.data("substrate").get("cpu", {})
    return tuple(str(cpu.get(key)) for key in ("vendor", "family", "number", "model"))


def _compare_facts(
    section: str,
    older: dict[str, Fact],
    newer: dict[str, Fact],
    result: Comparison,
    *,
    by_cpu: bool,
) -> None:
    for key in dict.fromkeys([*older, *newer]):
        old, new = older.get(key), newer.get(key)
        result.compared += 1
        if old is not None and new is not None and old.value == new.value:
            continue
        label = max((one.label for one in (old, new) if one), key=len)
        kind = (new or old or Fact("value", "", "")).kind
        change = Change(section, label, _text(old, kind), _text(new, kind) + _bits(old, new))
        for target in _targets(old, new, kind, result):
            (result.by_cpu if by_cpu else target).append(change)
            if by_cpu:
                break


def _targets(
    old: Fact | None, new: Fact | None, kind: str, result: Comparison
) -> list[list[Change]]:
    """The lists that a change belongs to: a mask may lose one bit and gain another."""
    if kind == "value":
        return [result.changed]
    before, after = (int(one.value) if one else 0 for one in (old, new))
    if before == after:
        return []
    if kind == "mask":
        lost, gained = bool(before & ~after), bool(after & ~before)
    else:
        lost, gained = after < before, after > before
    return [*([result.lost] if lost else []), *([result.gained] if gained else [])]


def _bits(old: Fact | None, new: Fact | None) -> str:
    """The names of a mask's bits that came and went: " +NEW -OLD"."""
    before, after = (one.names if one else () for one in (old, new))
    came = [f" +{name}" for name in after if name not in before]
    return "".join([*came, *(f" -{name}" for name in before if name not in after)])


def _text(fact: Fact | None, kind: str) -> str:
    if fact is None:
        return "no" if kind == "offer" else "none"
    if kind == "offer":
        return "yes" if fact.value == 1 else f"{fact.value:,}" if fact.value else "no"
    if kind == "mask":
        return f"{fact.value:#x}"
    return f"{fact.value:,}" if isinstance(fact.value, int) else fact.value
