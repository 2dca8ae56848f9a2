"""Where the running kernel and the ABI disagree: its BTF against our module or a user's headers.

Macros leave no trace in BTF; capabilities, which are macros, show in the section about them as
numbers without a name.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kvmabi import arch, uapi
from kvmabi.abi import btf
from kvmabi.probing.gather.common import abi_version, integers
from kvmabi.probing.report import Json
from kvmabi.probing.setting import Setting, Skip

if TYPE_CHECKING:
    from kvmabi.abi.facts import RecordFact
    from kvmabi.abi.sides import Side

PREFIXES: Final = ("KVM_", "kvm_")
"""What the names of the ABI's enumerators start with."""
ABI_ALONE: Final = ("kvm_ioeventfd_flag_nr_", "KVM_DEV_TYPE_")
"""Prefixes of enumerators that only the ABI uses: one that only the kernel has is news."""
KERNEL_PRIVATE: Final = {
    "struct kvm_run.immediate_exit": "inside the kernel it is called immediate_exit__unsafe",
    "struct kvm_run.immediate_exit__unsafe": "the kernel's own name of immediate_exit",
    "size of struct kvm_stats_desc": "inside the kernel it has room for the name",
}
"""Where the kernel compiles a header differently for itself than for programs."""


def gather(setting: Setting) -> Json:
    """The section's data: how much was compared, and each difference."""
    folder = setting.root / "sys/kernel/btf"
    if not (folder / "vmlinux").exists():
        raise Skip(f"this kernel has no BTF ({folder}/vmlinux; CONFIG_DEBUG_INFO_BTF)")
    enumerators, records = running_facts(folder)
    differences, compared = enumerator_drift(integers(setting), enumerators)
    ours = our_records()
    if setting.headers:
        differences += lacking(setting, enumerators)
        ours, records = header_records(setting.headers, folder)
    more, structs, members = record_drift(ours, records)
    return {
        "abi_version": abi_version(setting),
        "headers": setting.headers.label if setting.headers else "",
        "compared": {"enumerators": compared, "structures": structs, "members": members},
        "differences": differences + more,
        "not_compared": [
            "macros: BTF has none",
            "structures that the kernel's BTF has not",
            "flexible arrays: the kernel wraps them in a structure of its own",
            *(f"{subject}: {reason}" for subject, reason in KERNEL_PRIVATE.items()),
        ],
    }


def enumerator_drift(ours: Mapping[str, int], theirs: Mapping[str, int]) -> tuple[list[Json], int]:
    """(differences, how many were compared) of enumerators; those that only we have are macros."""
    common = ours.keys() & theirs.keys()
    differences = [
        _difference("enumerator", name, ours[name], theirs[name])
        for name in sorted(common)
        if ours[name] != theirs[name]
    ]
    differences += [
        _difference("enumerator", name, None, theirs[name])
        for name in sorted(theirs.keys() - common)
        if name.startswith(ABI_ALONE)
    ]
    return differences, len(common)


def lacking(setting: Setting, theirs: Mapping[str, int]) -> list[Json]:
    """A difference for each enumerator of the headers that a kernel with its fellows has not."""
    known = setting.facts.constants if setting.facts else {}
    return [
        _difference("enumerator", name, fact.value, None)
        for prefix in ABI_ALONE
        if any(name.startswith(prefix) for name in theirs)
        for name, fact in known.items()
        if name.startswith(prefix) and name not in theirs
        if fact.kind == "enumerator" and isinstance(fact.value, int)
    ]


def _difference(kind: str, subject: str, ours: int | None, theirs: int | None) -> Json:
    return {"kind": kind, "subject": subject, "built_in": ours, "running": theirs}


@dataclass(frozen=True, slots=True)
class Layout:
    """A structure's size, and the offsets of its named members, all in bytes.

    Bit-fields, flexible arrays and members without a name are left out.
    """

    size: int
    offsets: Mapping[str, int]
    left_out: frozenset[str] = frozenset()


def our_records() -> dict[str, Layout]:
    """The layouts of the built-in ABI's structures by tag."""
    found = {}
    for name, value in vars(uapi).items():
        if isinstance(value, type) and issubclass(value, ctypes.Structure) and "__" not in name:
            fields = [field for field in value._fields_ if len(field) == 2]
            hidden = set(getattr(value, "_anonymous_", ()))
            names = [field[0] for field in fields if field[0] not in hidden]
            members = {one: getattr(value, one) for one in names}
            offsets = {one: int(each.offset) for one, each in members.items() if each.size}
            left_out = frozenset(one for one, each in members.items() if not each.size)
            found[name] = Layout(ctypes.sizeof(value), offsets, left_out)
    return found


def header_records(side: Side, folder: Path) -> tuple[dict[str, Layout], dict[str, Layout]]:
    """(the headers' layouts, the running kernel's) of the structures that both have.

    Their members are named by path, through structures that have no tag.
    """
    from kvmabi.abi.running_side import running_sides  # noqa: PLC0415 (reads all types: slow)

    running, headers, _ = running_sides(side, folder)
    name = arch.host().name
    ours, theirs = headers.facts[name].records, running.facts[name].records
    return (
        {tag: _layout_of(one) for tag, one in ours.items() if one.kind == "struct"},
        {tag: _layout_of(one) for tag, one in theirs.items() if one.kind == "struct"},
    )


def _layout_of(record: RecordFact) -> Layout:
    fields = record.fields.items()
    offsets = {path: one.bit // 8 for path, one in fields if one.bits and one.bits % 8 == 0}
    left_out = frozenset(path for path, one in fields if path not in offsets)
    return Layout(record.size, offsets, left_out)


def record_drift(
    ours: Mapping[str, Layout], theirs: Mapping[str, Layout]
) -> tuple[list[Json], int, int]:
    """(differences, structures compared, members compared), over the tags that both have."""
    differences = []
    members = 0
    common = sorted(ours.keys() & theirs.keys())
    for name in common:
        mine, other = ours[name], theirs[name]
        members += len(mine.offsets)
        if mine.size != other.size and f"size of struct {name}" not in KERNEL_PRIVATE:
            differences.append(_difference("size", f"struct {name}", mine.size, other.size))
        for member in (mine.offsets.keys() | other.offsets.keys()) - mine.left_out:
            pair = mine.offsets.get(member), other.offsets.get(member)
            if pair[0] != pair[1] and f"struct {name}.{member}" not in KERNEL_PRIVATE:
                differences.append(_difference("offset", f"struct {name}.{member}", *pair))
    return sorted(differences, key=lambda one: str(one["subject"])), len(common), members


def running_facts(folder: Path) -> tuple[dict[str, int], dict[str, Layout]]:
    """(enumerators, layouts) of the running kernel by name; KVM's module before the kernel."""
    kernel = btf.Btf.read(folder / "vmlinux")
    objects = [kernel]
    with suppress(FileNotFoundError):
        objects.insert(0, btf.Btf.read(folder / "kvm", kernel))
    enumerators: dict[str, int] = {}
    records: dict[str, Layout] = {}
    for one in objects:
        _collect(one, enumerators, records)
    return enumerators, records


def _collect(one: btf.Btf, enumerators: dict[str, int], records: dict[str, Layout]) -> None:
    """Add what one BTF object has and the dictionaries lack, in one pass over its types."""
    names = {offset: name for prefix in PREFIXES for offset, name in one.offsets(prefix).items()}
    words = one.words
    for position, kind, vlen, flag in one.types():
        if kind == btf.ENUM:
            for at in range(position + 3, position + 3 + 2 * vlen, 2):
                name = names.get(words[at])
                if name is not None:
                    value = words[at + 1]
                    signed = flag and value >> 31
                    enumerators.setdefault(name, value - (1 << 32) if signed else value)
        elif kind == btf.STRUCT and words[position] in names:
            records.setdefault(names[words[position]], _layout(one, position, vlen, flag))


def _layout(one: btf.Btf, position: int, vlen: int, has_bit_sizes: int) -> Layout:
    words = one.words
    offsets = {}
    for at in range(position + 3, position + 3 + 3 * vlen, 3):
        name, bits = _string(one, words[at]), words[at + 2]
        if name and not (has_bit_sizes and bits >> 24):
            offsets[name] = (bits & 0xFF_FFFF if has_bit_sizes else bits) // 8
    return Layout(words[position + 2], offsets)


def _string(one: btf.Btf, offset: int) -> str:
    while one.base is not None and offset < one.string_start:
        one = one.base
    start = offset - one.string_start
    return one.strings[start : one.strings.index(b"\0", start)].decode("ascii", "replace")
