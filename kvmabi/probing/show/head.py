"""The report's first lines, and all sections' blocks in order; whatever draws them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import cast

from kvmabi.probing.report import Report
from kvmabi.probing.run import SECTIONS
from kvmabi.probing.show.model import Block, Note, ShowModule, Style, abi_name


def show_module(name: str) -> ShowModule:
    """The module that shows the section of this name."""
    return cast("ShowModule", importlib.import_module(f"kvmabi.probing.show.{name}"))


def headline(report: Report) -> str:
    """What was looked at, in one line."""
    substrate = report.data("substrate")
    parts = [f"Linux {report.kernel_release} {report.machine}"]
    if substrate:
        back_end = substrate["back_end"]
        parts.append(f"{back_end['module'] or 'no KVM'} ({back_end['virtualisation']})")
        parts.append(substrate["cpu"]["model"] or substrate["cpu"]["vendor"])
        if substrate["hypervisor"]["inside"]:
            parts.append(f"inside {substrate['hypervisor']['name']}")
    return " · ".join(part for part in parts if part)


def glance(report: Report) -> list[Note]:
    """What a reader should not have to search for, in a sentence each."""
    caps, drift = report.data("caps"), report.data("drift")
    found = []
    if caps.get("missing_common"):
        number = len(caps["missing_common"])
        text = f"{number} capabilities are missing that kernels of this age ordinarily have"
        found.append(Note(text, "bad"))
    if caps.get("unknown"):
        number = len(caps["unknown"])
        text = f"{number} capabilities are newer than this ABI ({caps['abi_version']})"
        found.append(Note(text, "warn"))
    mask = report.data("ioeventfd")
    if any(one["in_mask"] != one["accepted"] for one in mask.get("flags", ())):
        found.append(Note("ioeventfd: assign and the valid flag mask disagree", "bad"))
    if any(one["errno"] != one["documented"] for one in mask.get("clashes", ())):
        found.append(Note("ioeventfd: an answer is not the documented one", "bad"))
    if drift.get("differences"):
        number = len(drift["differences"])
        text = f"{number} differences to {abi_name(drift)}"
        found.append(Note(text, "warn"))
    bad = [name for name, section in report.sections.items() if section.status == "failed"]
    if bad:
        found.append(Note(f"sections that failed: {', '.join(bad)}", "bad"))
    return found


def closing(report: Report) -> str:
    """By whom, against which ABI, when, and how long it took."""
    abi = f"ABI of Linux {report.abi_version}" if report.abi_version else "no built-in ABI"
    abi = f"ABI of the headers {report.headers}" if report.headers else abi
    return f"kvmabi {report.kvmabi}, {abi}, {report.started}, {report.seconds:.2f} s"


def sections(report: Report) -> Iterator[tuple[str, list[Block]]]:
    """(title, blocks) of each section; one that has no data gives its reason.

    Those that were skipped for want of KVM stand together at the end.
    """
    waiting = []
    titles = {kind.name: kind.title for kind in SECTIONS}
    for name, section in report.sections.items():
        if section.status == "skipped" and not report.kvm["available"]:
            waiting.append(name)
        elif section.status == "ok" and section.data is not None:
            yield titles.get(name, name), show_module(name).blocks(section.data)
        else:
            style: Style = "bad" if section.status == "failed" else "warn"
            yield titles.get(name, name), [Note(f"{section.status}: {section.reason}", style)]
    if waiting:
        what, remedy = kvm_lines(report) or ("", "")
        text = f"not asked without KVM: {', '.join(waiting)}"
        blocks: list[Block] = [Note(what, "bad"), Note(f"what to do: {remedy}", "strong")]
        yield "No KVM", [*blocks, Note(text, "warn")]


def kvm_lines(report: Report) -> tuple[str, str] | None:
    """(what is the matter, what to do) where there was no KVM."""
    kvm = report.kvm
    if kvm["available"]:
        return None
    return f"no KVM ({kvm['situation']}): {kvm['reason']}", kvm["remedy"]
