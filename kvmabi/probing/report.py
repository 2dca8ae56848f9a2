"""A probe's report: its sections, and the JSON that it is saved as.

The JSON's shape is documented by ``schema.json`` beside this module; `SCHEMA_VERSION` grows when a
reader of the old shape would misread the new one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from kvmabi.errors import ResultError
from kvmabi.probing.schema import violations

SCHEMA_VERSION: Final = 1
Json = dict[str, Any]
Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Section:
    """One section's outcome: `data` where its status is "ok", and else the `reason`."""

    status: Status
    seconds: float
    reason: str = ""
    data: Json | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one run of the probe found, by section name in the order of the run."""

    kvmabi: str
    started: str
    """When, in UTC, ISO 8601."""
    seconds: float
    kernel_release: str
    machine: str
    """``uname -m``."""
    abi_version: str
    """The Linux version of the ABI; empty where there is none for this machine."""
    kvm: Json
    """`available`, and where it is not the `situation`, its `reason` and `remedy`."""
    sections: dict[str, Section]
    headers: str = ""
    """The headers that the user named as the ABI; empty for the built-in one."""

    def data(self, name: str) -> Json:
        """The data of a section that succeeded; empty for any other."""
        section = self.sections.get(name)
        return (section.data or {}) if section else {}

    def only(self, names: Iterable[str]) -> Report:
        """The same report with these sections alone."""
        wanted = set(names)
        kept = {name: one for name, one in self.sections.items() if name in wanted}
        return replace(self, sections=kept)

    def to_json(self) -> Json:
        """The JSON object that schema.json describes."""
        body = asdict(self)
        return {"type": "probe", "schema": SCHEMA_VERSION, **body}

    @classmethod
    def from_json(cls, body: object, name: str = "the report") -> Report:
        """The report in a decoded JSON value; ResultError where it does not fit the schema.

        Members and sections that a newer kvmabi may have added are passed over.
        """
        if not isinstance(body, dict) or body.get("type") != "probe":
            raise ResultError(f"{name} is no report of kvmabi probe")
        if body.get("schema") != SCHEMA_VERSION:
            raise ResultError(
                f"{name} has schema {body.get('schema')!r}, and this kvmabi reads {SCHEMA_VERSION}"
            )
        schema = load_schema()
        wrong = violations(body, schema)
        if wrong:
            raise ResultError(f"{name} does not fit the schema: {wrong[0]}")
        known = {key: value for key, value in body.items() if key in cls.__slots__}
        known["sections"] = {
            key: Section(
                **{name: item for name, item in value.items() if name in Section.__slots__}
            )
            for key, value in body["sections"].items()
            if key in schema["properties"]["sections"]["properties"]
        }
        return cls(**known)


def load_schema() -> Json:
    """The JSON Schema of a report."""
    from importlib import resources  # noqa: PLC0415 (only who reads reports pays for it)

    text = resources.files("kvmabi.probing").joinpath("schema.json").read_text("utf-8")
    schema: Json = json.loads(text)
    return schema


def read_report(path: Path) -> Report:
    """The report in a file; ResultError where there is none."""
    try:
        body = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ResultError(f"{path} is no JSON: {error}") from None
    return Report.from_json(body, str(path))
