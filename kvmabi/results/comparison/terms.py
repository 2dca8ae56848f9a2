"""The terms on which two results stand side by side: is each whole, and what else differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kvmabi.ioeventfd.offer import CAPABILITIES, STAND_IN
from kvmabi.results.record import Json, RunRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvmabi.results.store import Result


def flaws(result: Result) -> tuple[str, ...]:
    """Why a result is not a whole run, one sentence each; empty where it is."""
    end, ended = result.end, len(result.cases)
    counted = f"{ended:,} of {result.run.planned:,} cases have a verdict"
    if end is None:
        return (f"the run was cut off: {counted}",)
    found = [f"the run was interrupted: {counted}"] if end.interrupted else []
    found += end.problems
    return tuple(found) if found or ended == result.run.planned else (counted,)


def _lab(key: str) -> Callable[[RunRecord], Json]:
    def value(run: RunRecord) -> Json:
        lab = run.host.get("lab")
        return lab.get(key) if isinstance(lab, dict) else "not in the lab"

    return value


def _mask(run: RunRecord) -> Json:
    mask = run.abi.get("mask")
    return f"{mask:#x}" if isinstance(mask, int) else mask


def _answer(key: str) -> Callable[[RunRecord], Json]:
    def value(run: RunRecord) -> Json:
        offered = run.abi.get(key)
        return "not recorded" if offered is None else "yes" if offered else "no"

    return value


_TERMS: Final[tuple[tuple[str, Callable[[RunRecord], Json]], ...]] = (
    ("valid masks", _mask),
    ("sources of the valid mask", lambda run: run.abi.get("mask_source")),
    *((f"answers to {name}", _answer(key)) for key, name in CAPABILITIES.items()),
    ("ABI versions", lambda run: run.abi.get("version")),
    ("kvmabi versions", lambda run: run.kvmabi),
    ("machines", lambda run: run.host.get("machine")),
    ("KVM back ends", lambda run: run.host.get("back_end")),
    ("CPUs", lambda run: run.host.get("cpu_model")),
    ("labs' back ends", _lab("backend")),
    ("emulators", _lab("emulator")),
)
"""What else than the kernel may make a difference."""
_KERNEL: Final = ("kernel_release", "kernel_version")


def notes(old: RunRecord, new: RunRecord) -> list[str]:
    """The terms on which two runs differ, one sentence each; also that they do not."""
    found = [
        f"the {name} differ, {_text(value(old))} and {_text(value(new))}"
        for name, value in _TERMS
        if value(old) != value(new)
    ]
    found += [
        f"the runs' --{name} differ, {_text(old.options.get(name))} and "
        f"{_text(new.options.get(name))}"
        for name in sorted({*old.options, *new.options})
        if old.options.get(name) != new.options.get(name)
    ]
    if all(old.host.get(key) == new.host.get(key) for key in _KERNEL):
        found.append(f"both ran on one build of Linux {old.host.get('kernel_release')}")
    return found


def withdrawn(old: RunRecord, new: RunRecord) -> list[str]:
    """What old offers to programs and new does not, one sentence each.

    Cases do not tell: they expect of each kernel what it offers. A mask that was not read from the
    kernel or its headers is no offer.
    """
    found = [
        f"{name}, which old has and new has not"
        for key, name in CAPABILITIES.items()
        if old.abi.get(key) is True and new.abi.get(key) is False
    ]
    masks = [run.abi.get("mask") for run in (old, new) if not _is_stand_in(run)]
    match masks:
        case [int(before), int(after)] if before & ~after:
            found.append(f"the flags {before & ~after:#x}, which old takes and new does not")
    return found


def _is_stand_in(run: RunRecord) -> bool:
    return str(run.abi.get("mask_source")).startswith(STAND_IN)


def _text(value: Json) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
