"""What the comparisons share: the header tool's own trees, and the compiler."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from kvmabi import arch
from kvmabi.abi.compare import Comparison
from kvmabi.header import HeaderTree

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tool() -> ModuleType:
    """tools/update_headers.py as a module."""
    pytest.importorskip("ziglang", reason="pip install ziglang: the compiler to compare with")
    spec = importlib.util.spec_from_file_location("update_headers", TOP / "tools/update_headers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["update_headers"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tree_of(tool: ModuleType) -> Callable[[arch.Architecture], HeaderTree]:
    """The tree of an architecture's headers."""

    def tree(architecture: arch.Architecture) -> HeaderTree:
        found: HeaderTree = tool.header_tree(architecture)
        return found

    return tree


class Summary:
    """What the end of the run says: how much was compared, and what was left out."""

    def __init__(self) -> None:
        self.results: dict[str, Comparison] = {}

    def add(self, name: str, result: Comparison) -> None:
        self.results[name] = result

    def write(self, reporter: pytest.TerminalReporter) -> None:
        for name, result in self.results.items():
            kinds = ", ".join(f"{count} {kind}" for kind, count in result.counts.items())
            reporter.write_line(
                f"{name}: {sum(result.counts.values())} facts compared,"
                f" {len(result.differences)} differ, {len(result.exclusions)} left out: {kinds}"
            )
            if reporter.verbosity > 0:
                for exclusion in result.exclusions:
                    reporter.write_line(f"  left out: {exclusion.subject}: {exclusion.reason}")


KEY = pytest.StashKey[Summary]()


@pytest.fixture(scope="session")
def summary(pytestconfig: pytest.Config) -> Summary:
    return pytestconfig.stash.setdefault(KEY, Summary())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash.get(KEY, None)
    if found is not None and found.results:
        terminalreporter.section("ABI compared with clang")
        found.write(terminalreporter)
