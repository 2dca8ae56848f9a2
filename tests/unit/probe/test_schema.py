"""The schema checker, and that our reports fit our schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvmabi.errors import AbiError, ResultError
from kvmabi.probing.report import Report, load_schema
from kvmabi.probing.schema import violations

from .conftest import CAPS, CPUID, make_report

SCHEMA = {
    "type": "object",
    "required": ["n", "s"],
    "additionalProperties": False,
    "properties": {
        "n": {"type": "integer", "minimum": 0},
        "s": {"type": "string", "pattern": "^a"},
        "e": {"enum": ["x", "y"]},
        "l": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/flag"}},
        "a": {"anyOf": [{"type": "null"}, {"const": 7}]},
        "m": {"type": "object", "additionalProperties": {"type": "string"}},
        "u": {"type": ["integer", "null"]},
    },
    "patternProperties": {"^x-": {"type": "number"}},
    "$defs": {"flag": {"type": "boolean"}},
}
GOOD = {
    "n": 1,
    "s": "ab",
    "e": "y",
    "l": [True],
    "a": None,
    "m": {"k": "v"},
    "u": None,
    "x-1": 0.5,
}


def test_a_value_that_fits_has_no_violations() -> None:
    assert violations(GOOD, SCHEMA) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"n": -1}, "$.n: -1 is less than 0"),
        ({"n": 1.5}, "$.n: 1.5 is no integer"),
        ({"n": True}, "$.n: True is no integer"),
        ({"s": "b"}, "$.s: 'b' does not match ^a"),
        ({"s": None}, "$.s: None is no string"),
        ({"e": "z"}, "$.e: 'z' is none of ['x', 'y']"),
        ({"l": []}, "$.l: fewer than 1 items"),
        ({"l": [True, 0]}, "$.l[1]: 0 is no boolean"),
        ({"a": 8}, "$.a: 8 fits none of the alternatives"),
        ({"m": {"k": 1}}, "$.m.k: 1 is no string"),
        ({"u": "1"}, "$.u: '1' is no integer or null"),
        ({"x-1": "1"}, "$.x-1: '1' is no number"),
        ({"other": 1}, "$: 'other' is not known"),
    ],
)
def test_a_value_that_does_not_fit_is_seen(change: dict[str, Any], place: str) -> None:
    assert violations(GOOD | change, SCHEMA) == [place]


def test_a_missing_member_is_seen() -> None:
    assert violations({"n": 1}, SCHEMA) == ["$: no 's'"]


def test_a_keyword_that_the_checker_does_not_know_is_an_error() -> None:
    with pytest.raises(AbiError, match="maxLength"):
        violations("a", {"maxLength": 1})


def test_every_member_in_our_schema_is_required_or_known_to_be_left_out() -> None:
    schema = load_schema()
    assert schema["properties"]["schema"]["const"] == 1
    for name, body in schema["$defs"].items():
        assert body.get("description") or name in ("cpuid_entry", "cpuid_features"), name


def test_a_report_survives_json() -> None:
    report = make_report(caps=CAPS, cpuid=CPUID)
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "run"}, "no report of kvmabi probe"),
        ({"schema": 2}, "schema 2"),
        ({"seconds": "1"}, "seconds"),
        ({"sections": {"caps": {"status": "fine"}}}, "caps"),
    ],
)
def test_what_is_no_report_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultError, match=message):
        Report.from_json(make_report().to_json() | change)


def test_what_a_newer_version_added_is_passed_over() -> None:
    body = json.loads(json.dumps(make_report().to_json()))
    body["news"] = 1
    body["sections"]["substrate"]["news"] = 1
    body["sections"]["news"] = {"status": "ok", "seconds": 0, "reason": "", "data": {}}
    assert Report.from_json(body) == make_report()
