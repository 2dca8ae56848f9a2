"""Since when a name is in KVM's ABI, as far as the snapshots that kvmabi has go back."""

from __future__ import annotations

from dataclasses import dataclass

from kvmabi.abi import snapshot
from kvmabi.abi.facts import Facts


@dataclass(frozen=True, slots=True)
class History:
    """Snapshots (name, facts by architecture), the oldest first."""

    snapshots: tuple[tuple[str, dict[str, Facts]], ...]

    @classmethod
    def load(cls) -> History:
        """The snapshots that kvmabi brings along; AbiError where one is damaged."""
        return cls(tuple((name, snapshot.load(name).facts) for name in snapshot.names()))

    def since(self, name: str, field: str = "") -> str:
        """The oldest snapshot that has a name or a record's field, on any architecture; "" if none.

        The oldest of all is "6.1 or before".
        """
        for index, (version, facts) in enumerate(self.snapshots):
            if any(_has(one, name, field) for one in facts.values()):
                return version if index else f"{version} or before"
        return ""

    def new_fields(self, name: str) -> dict[str, str]:
        """The version that brought each field that a record has not had from its start."""
        start = self.since(name)
        paths = {
            path
            for _, facts in self.snapshots
            for one in facts.values()
            if name in one.records
            for path in one.records[name].fields
        }
        found = {path: self.since(name, path) for path in paths}
        return {path: version for path, version in found.items() if version != start}


def _has(facts: Facts, name: str, field: str) -> bool:
    if field:
        return name in facts.records and field in facts.records[name].fields
    tables = (facts.records, facts.constants, facts.ioctls, facts.functions)
    return any(name in table for table in tables)
