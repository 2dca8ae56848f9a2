"""Names of the ABI looked up in the generated modules of several architectures at once."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kvmabi.abi import view
from kvmabi.abi.history import History
from kvmabi.abi.view import IoctlView, Layout
from kvmabi.arch import Architecture


@dataclass(frozen=True, slots=True)
class Constant:
    """A macro or an enumerator; `note` says where an overlay changes it."""

    name: str
    value: int | str
    note: str = ""


@dataclass(frozen=True, slots=True)
class FunctionView:
    """A function-like macro: its parameters as Python has them, and the C type of its value."""

    name: str
    parameters: str
    c_type: str


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A name without a value, and why; or one that is defined and stands for nothing."""

    name: str
    reason: str


Item: TypeAlias = Layout | IoctlView | Constant | FunctionView | Unresolved


@dataclass(frozen=True, slots=True)
class Found:
    """What a name is: each of its forms, with the architectures that have it so."""

    name: str
    forms: tuple[tuple[tuple[str, ...], Item], ...]

    @property
    def first(self) -> Item:
        """The form of the first architecture that has the name with a value."""
        return self.forms[0][1]

    def as_json(self, history: History) -> dict[str, object]:
        """The forms as JSON, with the version that the name is there since."""
        return {
            "name": self.name,
            "since": history.since(self.name),
            "forms": [
                {"architectures": list(names), "is": type(item).__name__.lower(),
                 **dataclasses.asdict(item)}
                for names, item in self.forms
            ],
        }  # fmt: skip


class Modules:
    """The generated modules of some architectures."""

    def __init__(self, architectures: Sequence[Architecture]) -> None:
        self._modules: list[tuple[Architecture, Mapping[str, Any]]] = [
            (one, vars(importlib.import_module(f"kvmabi.uapi.{one.name}"))) for one in architectures
        ]

    def names(self) -> list[str]:
        """Every name of the ABI, sorted; without those that records without a tag were given."""
        found: set[str] = set()
        for _, module in self._modules:
            facts = {"ABI_VERSION", "ARCHITECTURE", "DEFINED", "IOCTLS", "OPAQUE"}
            names = set(module["__all__"]) - facts - {"OVERLAY_ADDED", "OVERLAY_BASE"}
            found |= {name for name in names if not _untagged(module[name])}
            found |= set(module["OPAQUE"])
        return sorted(found)

    def find(self, pattern: str) -> list[Found]:
        """What the names are that fit a shell pattern or are it, in their order; maybe none."""
        if any(letter in pattern for letter in "*?["):
            return [self._found(name) for name in fnmatch.filter(self.names(), pattern)]
        found = self._found(pattern)
        return [found] if found.forms else []

    def ioctls(self) -> list[tuple[Architecture, IoctlView]]:
        """Every ioctl of every architecture."""
        return [
            (one, found)
            for one, module in self._modules
            for name in module["IOCTLS"]
            if (found := view.ioctl_view(module, one, name)) is not None
        ]

    def _found(self, name: str) -> Found:
        forms: dict[Item, list[str]] = {}
        for architecture, module in self._modules:
            item = _item(architecture, module, name)
            if item is not None:
                forms.setdefault(item, []).append(architecture.name)
        listed = sorted(forms.items(), key=lambda form: isinstance(form[0], Unresolved))
        return Found(name, tuple((tuple(names), item) for item, names in listed))


def _untagged(value: object) -> bool:
    return isinstance(value, type) and (value.__doc__ or "").startswith(("struct:", "union:"))


def _item(architecture: Architecture, module: Mapping[str, Any], name: str) -> Item | None:
    if name in module["OPAQUE"]:
        return Unresolved(name, module["OPAQUE"][name])
    if name in module["DEFINED"]:
        return Unresolved(name, "it is defined, and stands for nothing")
    if name not in module["__all__"]:
        return None
    value = module[name]
    if inspect.isfunction(value):
        hints = ", ".join(
            f"{parameter}: {kind}"
            for parameter, kind in value.__annotations__.items()
            if parameter != "return"
        )
        return FunctionView(name, hints, (value.__doc__ or "").strip("`."))
    if isinstance(value, type):
        return view.layout(module, name)
    found = view.ioctl_view(module, architecture, name)
    if found is not None or not isinstance(value, int | str):
        return found
    return Constant(name, value, _note(module, name))


def _note(module: Mapping[str, Any], name: str) -> str:
    if name in module["OVERLAY_ADDED"]:
        return "from an overlay of kvmabi, not in the kernel's headers"
    if name in module["OVERLAY_BASE"]:
        return f"{module['OVERLAY_BASE'][name]:#x} in the kernel's headers; an overlay changes it"
    return ""
