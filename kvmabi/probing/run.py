"""Runs the sections: each by itself, with a deadline, so that one that fails costs only itself."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol, cast

from kvmabi import __version__
from kvmabi.errors import KvmAbiError, KvmUnavailable, UsageError
from kvmabi.probing.absence import Absence, why_absent
from kvmabi.probing.report import Json, Report, Section
from kvmabi.probing.setting import Setting, Skip

DEADLINE_S: Final = 10.0
"""How long one section may take before the report goes on without it."""


class SectionKind(NamedTuple):
    """A section: its name, its title, and whether it needs an open KVM."""

    name: str
    title: str
    needs_kvm: bool = True


SECTIONS: Final = (
    SectionKind("substrate", "Substrate: kernel, device, modules, CPU", needs_kvm=False),
    SectionKind("caps", "Capabilities"),
    SectionKind("limits", "Limits"),
    SectionKind("ioeventfd", "ioeventfd, by doing it"),
    SectionKind("devices", "Devices that can be created"),
    SectionKind("stats", "Binary statistics"),
    SectionKind("msrs", "MSRs"),
    SectionKind("cpuid", "CPUID"),
    SectionKind("drift", "Drift: the running kernel and the built-in ABI", needs_kvm=False),
)
"""All sections, in the order in which they run and are shown."""

GROUPS: Final = {"lists": ("limits", "devices", "stats", "msrs", "cpuid")}
"""Names that `--only` takes for several sections."""


class GatherModule(Protocol):
    """What a module of kvmabi.probing.gather offers."""

    def gather(self, setting: Setting) -> Json:
        """What the section found, as plain JSON; raises Skip or any error."""


def choose(only: Iterable[str]) -> tuple[SectionKind, ...]:
    """The sections of these names or groups, in the order of a run; all for no name at all."""
    wanted = {name for one in only for name in GROUPS.get(one, (one,))}
    unknown = wanted - {kind.name for kind in SECTIONS}
    if unknown:
        known = ", ".join([*(kind.name for kind in SECTIONS), *GROUPS])
        raise UsageError(f"no section {', '.join(sorted(unknown))}; there are: {known}")
    return tuple(kind for kind in SECTIONS if not wanted or kind.name in wanted)


def probe(
    kinds: Iterable[SectionKind] = SECTIONS,
    setting: Setting | None = None,
    *,
    note: Callable[[str], None] = lambda _: None,
) -> Report:
    """The report of the running kernel; `note` is told each section's title as it begins."""
    setting = setting or Setting()
    begin = time.monotonic()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    absence = why_absent(setting.root)
    sections = {}
    for kind in kinds:
        note(kind.title)
        sections[kind.name] = _run(kind, setting, absence)
    uname = os.uname()
    return Report(
        kvmabi=__version__,
        started=started,
        seconds=round(time.monotonic() - begin, 3),
        kernel_release=uname.release,
        machine=uname.machine,
        abi_version=setting.headers.version if setting.headers else _abi_version(),
        kvm=absence.to_json() if absence else {"available": True},
        sections=sections,
        headers=setting.headers.label if setting.headers else "",
    )


def _abi_version() -> str:
    try:
        return str(importlib.import_module("kvmabi.uapi").ABI_VERSION)
    except KvmAbiError:
        return ""


def _run(kind: SectionKind, setting: Setting, absence: Absence | None) -> Section:
    if kind.needs_kvm and absence:
        return Section("skipped", 0.0, f"no KVM: {absence.reason}")
    begin = time.monotonic()
    outcome: list[tuple[Any, str, Json | None]] = []
    thread = threading.Thread(
        target=lambda: outcome.append(_gather(kind.name, setting)),
        name=f"kvmabi-probe-{kind.name}",
        daemon=True,  # one that never ends does not keep the process
    )
    thread.start()
    thread.join(DEADLINE_S)
    seconds = round(time.monotonic() - begin, 4)
    if not outcome:
        return Section("failed", seconds, f"did not end within {DEADLINE_S:g} s")
    status, reason, data = outcome[0]
    return Section(status, seconds, reason, data)


def _gather(name: str, setting: Setting) -> tuple[str, str, Json | None]:
    try:
        module = importlib.import_module(f"kvmabi.probing.gather.{name}")
        return "ok", "", cast("GatherModule", module).gather(setting)
    except (Skip, KvmUnavailable) as error:
        return "skipped", str(error), None
    except (KvmAbiError, OSError) as error:
        return "failed", str(error) or type(error).__name__, None
    except Exception as error:  # noqa: BLE001 (a bug in one section must not cost the others)
        return "failed", f"a bug in kvmabi: {type(error).__name__}: {error}", None
