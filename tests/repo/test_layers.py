"""Imports run downwards only, ioctls stand in one place, and every dependency is declared."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).parents[2]

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "arch": {"errors"},
    "arguments": set(),
    "verbs": set(),
    "subcommands": set(),
    "header": {"errors", "arch"},
    "headersets": {"errors", "arch", "header"},
    "abi": {"errors", "arch", "header", "headersets"},
    "uapi": {"errors", "arch"},
    "kvm": {"errors", "arch", "uapi"},
    "guest": {"errors", "arch", "uapi"},
    "vmm": {"errors", "arch", "uapi", "kvm", "guest"},
    # abi: the contract's valid flag mask comes from the running kernel's BTF
    "ioeventfd": {"errors", "arch", "abi", "uapi", "kvm", "guest", "vmm"},
    "results": {"errors", "arch", "uapi", "kvm", "guest", "vmm", "ioeventfd"},
    # ioeventfd: the promises' texts and the cases' ids, which touch no device
    "lab": {"errors", "arch", "header", "abi", "ioeventfd", "results", "verbs"},
    # abi: the running kernel's BTF is compared with the built-in ABI
    "benching": {"errors", "arch", "uapi", "kvm", "guest", "vmm"},
    "probing": {"errors", "arch", "abi", "uapi", "kvm", "guest", "vmm", "ioeventfd"},
}
"""Which parts a part may import; every part may import itself and the package's version."""

BELOW_VERBS = set(MAY_IMPORT)
VERBS_INSIDE = (
    "kvmabi.abi.__main__",
    "kvmabi.abi.commands",
    "kvmabi.lab.__main__",
    "kvmabi.lab.commands",
)
"""Verbs that live in the part they are about: they print and may use what a verb may, but no
device; and no other module of their part imports them."""
TOP_MODULES = {"cli", "__main__"}
DEVICE_PARTS = ("kvmabi.kvm", "kvmabi.vmm", "kvmabi.guest")
DEVICE_MODULES = {"ctypes", "fcntl", "mmap", "os", "select", "socket", "subprocess", "threading"}
PURE = ("kvmabi.ioeventfd.contract", "kvmabi.ioeventfd.cases")


def module_name(path: Path, top: Path = TOP) -> str:
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, name: str, *, package: bool) -> set[str]:
    """The absolute names of all that a module imports, except under ``if __name__ == ...``."""
    found: set[str] = set()
    for node in walk_library(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = name.split(".")[: len(name.split(".")) - node.level + package]
                base = ".".join([*anchor, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def walk_library(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "__name__" in ast.dump(node.test):
            continue
        yield node
        yield from walk_library(node)


def part_of(name: str) -> str:
    """The part of kvmabi that a dotted name belongs to; empty for the package itself."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else ""


def breaches(name: str, imported: set[str], parts: set[str]) -> list[str]:
    """What of `imported` a module of that name must not import."""
    own = part_of(name)
    if own in TOP_MODULES or not own:
        allowed = parts
    elif name.startswith(VERBS_INSIDE):
        allowed = MAY_IMPORT[own] | {"uapi", "results", "subcommands", "arguments"}
    elif own in MAY_IMPORT:
        allowed = MAY_IMPORT[own]
    else:
        allowed = BELOW_VERBS  # a verb: all but the command line and other verbs
    targets = {part_of(one) for one in imported if one.startswith("kvmabi.")} & parts
    wrong = {f"kvmabi.{one}" for one in targets - allowed - {own}}
    if not name.startswith(VERBS_INSIDE) and own not in TOP_MODULES:
        wrong |= {one for one in imported if one.startswith(VERBS_INSIDE)}
    return sorted(f"{name} imports {one}" for one in wrong)


def library() -> dict[str, tuple[Path, set[str]]]:
    found = {}
    for path in sorted((TOP / "kvmabi").rglob("*.py")):
        name = module_name(path)
        package = path.name == "__init__.py"
        found[name] = (path, imports_of(path.read_text(), name, package=package))
    return found


LIBRARY = library()
PARTS = {part_of(name) for name in LIBRARY} - {""}


def test_the_package_itself_imports_nothing_of_it() -> None:
    assert not {one for one in LIBRARY["kvmabi"][1] if one.startswith("kvmabi")}


def test_imports_run_downwards_only() -> None:
    found = [one for name in LIBRARY for one in breaches(name, LIBRARY[name][1], PARTS)]
    assert found == []


@pytest.mark.parametrize(
    ("name", "source", "breach"),
    [
        ("kvmabi.kvm.vm", "from kvmabi.vmm.bus import Bus", "kvmabi.kvm.vm imports kvmabi.vmm"),
        ("kvmabi.kvm.vm", "from kvmabi import vmm", "kvmabi.kvm.vm imports kvmabi.vmm"),
        ("kvmabi.kvm.vm", "def f():\n  import kvmabi.cli", "kvmabi.kvm.vm imports kvmabi.cli"),
        ("kvmabi.kvm.vm", "from ..vmm import bus", "kvmabi.kvm.vm imports kvmabi.vmm"),
        ("kvmabi.kvm.vm", "from .. import vmm", "kvmabi.kvm.vm imports kvmabi.vmm"),
        ("kvmabi.abi.btf", "import kvmabi.uapi", "kvmabi.abi.btf imports kvmabi.uapi"),
        ("kvmabi.matrix", "from kvmabi import cli", "kvmabi.matrix imports kvmabi.cli"),
        (
            "kvmabi.abi.commands.show",
            "import kvmabi.kvm",
            "kvmabi.abi.commands.show imports kvmabi.kvm",
        ),
        (
            "kvmabi.abi.emit",
            "import kvmabi.abi.commands.show",
            "kvmabi.abi.emit imports kvmabi.abi.commands.show",
        ),
        (
            "kvmabi.header.syntax",
            "if TYPE_CHECKING:\n  from kvmabi.abi import Abi",
            "kvmabi.header.syntax imports kvmabi.abi",
        ),
    ],
)
def test_an_import_upwards_is_seen(name: str, source: str, breach: str) -> None:
    imported = imports_of(source, name, package=False)
    assert breaches(name, imported, PARTS | {"matrix", "vmm", "abi", "uapi"}) == [breach]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("kvmabi.vmm.bus", "from kvmabi.kvm import VM"),
        ("kvmabi.vmm.bus", "from kvmabi import __version__"),
        ("kvmabi.vmm.bus", "from . import pci"),
        ("kvmabi.vmm.bus", "from ..kvm import VM"),
        ("kvmabi.matrix", "if __name__ == '__main__':\n  from kvmabi.cli import main_verb"),
    ],
)
def test_an_import_downwards_is_fine(name: str, source: str) -> None:
    imported = imports_of(source, name, package=False)
    assert breaches(name, imported, PARTS | {"matrix"}) == []


def test_the_contract_and_the_cases_touch_no_device() -> None:
    todo = [name for name in LIBRARY if name.startswith(PURE)]
    assert todo
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        seen.add(name)
        imported = LIBRARY[name][1]
        bad = {one for one in imported if one.startswith(DEVICE_PARTS)}
        bad |= {one for one in imported if one.split(".")[0] in DEVICE_MODULES}
        assert not bad, f"{name} imports {sorted(bad)}"
        owners = {one if one in LIBRARY else one.rpartition(".")[0] for one in imported}
        todo += [one for one in owners if part_of(one) == "ioeventfd" and one not in seen]


def is_ioctl(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and node.attr == "ioctl"


def calls_ioctl(source: str) -> bool:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and is_ioctl(node.func):
            return True
        if is_ioctl(node) and isinstance(node.value, ast.Name) and node.value.id == "fcntl":
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "fcntl":
            return any(alias.name in ("ioctl", "*") for alias in node.names)
    return False


def test_only_kvm_calls_ioctl() -> None:
    callers = {
        part_of(name) for name, (path, _) in LIBRARY.items() if calls_ioctl(path.read_text())
    }
    assert callers == {"kvm"}


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import fcntl\nfcntl.ioctl(3, 4)", True),
        ("from fcntl import ioctl", True),
        ("libc.ioctl(3, 4)", True),
        ("import fcntl\ncall = fcntl.ioctl", True),
        ("encoding = architecture.ioctl", False),
        ("import fcntl\nfcntl.flock(3, 4)", False),
    ],
)
def test_an_ioctl_is_seen(source: str, seen: bool) -> None:
    assert calls_ioctl(source) is seen


def third_party(paths: Iterator[Path]) -> set[str]:
    """The distributions that the files import; a module that none provides stands as itself."""
    own = {"kvmabi", "tools", "tests", "conftest"}
    names: set[str] = set()
    for path in paths:
        imported = imports_of(path.read_text(), module_name(path), package=False)
        names |= {one.split(".")[0] for one in imported}
    providers = importlib.metadata.packages_distributions()
    outside = names - own - set(sys.stdlib_module_names) - {""}
    return {canonicalize_name(providers.get(name, [name])[0]) for name in outside}


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def test_the_library_imports_what_it_declares_and_no_more() -> None:
    assert third_party((TOP / "kvmabi").rglob("*.py")) == declared()


def test_tools_and_tests_import_only_what_is_declared() -> None:
    files = [*(TOP / "tools").rglob("*.py"), *(TOP / "tests").rglob("*.py")]
    assert third_party(iter(files)) <= declared("test")
