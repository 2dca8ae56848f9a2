from __future__ import annotations

import dataclasses
import json

import pytest

from kvmabi.errors import ResultError
from kvmabi.results import CaseRecord, Disagreement, EndRecord, RunRecord, Verdict
from kvmabi.results.record import from_line, to_line


def test_a_run_record_survives_its_line(run_record: RunRecord) -> None:
    line = to_line(run_record)
    assert from_line(line) == run_record
    fields = json.loads(line)
    assert fields["type"] == "run"
    assert fields["schema"] == 1


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_case_record_survives_its_line(make_case, verdict: Verdict) -> None:
    case = make_case("mmio-len4-write4", verdict)
    line = to_line(case)
    assert from_line(line) == case
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["verdict"] == verdict.value


def test_an_end_record_survives_its_line() -> None:
    end = EndRecord(3, 2, {"pass": 1, "fail": 1}, 1.5, interrupted=True, problems=("a", "b"))
    assert from_line(to_line(end)) == end


def test_a_newline_inside_a_text_does_not_break_the_line(make_case) -> None:
    case = dataclasses.replace(make_case("a"), reason="first\nsecond\r\u2028\x00")
    line = to_line(case)
    assert line.count(b"\n") == 1
    assert from_line(line) == case


def test_an_undecodable_path_in_a_reason_does_not_lose_the_record(make_case) -> None:
    case = dataclasses.replace(make_case("a"), reason="no \udcff.img")
    assert from_line(to_line(case)) == case


def test_all_64_bits_of_a_value_survive(make_case) -> None:
    top = Disagreement("write", 5, 2**64 - 1, [2**63, None, "x"])
    case = dataclasses.replace(make_case("a", Verdict.FAIL), disagreements=(top,))
    record = from_line(to_line(case))
    assert isinstance(record, CaseRecord)
    assert record.disagreements == (top,)


def test_unknown_fields_are_ignored(make_case) -> None:
    fields = json.loads(to_line(make_case("a")))
    assert from_line(json.dumps({**fields, "later": 1}).encode()) == make_case("a")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "no JSON"),
        (b'{"type": "case", "id', "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[1]", "no JSON object"),
        (b"{}", "unknown record type"),
        (b'{"type": ["case"]}', "unknown record type"),
        (b'{"type": "case", "id": "a"}', "bad case record"),
        (b'{"type": "run", "schema": 2}', "schema 2"),
        (b'{"type": "end", "planned": "many"}', "bad end record"),
        (b'{"type": "end", "planned": Infinity}', "bad end record"),
        (b'{"type": "end", "planned": 1, "executed": 1, "verdicts": []}', "bad end record"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_a_damaged_line_is_an_error(line: bytes, says: str) -> None:
    with pytest.raises(ResultError, match=says):
        from_line(line)


def test_an_unknown_verdict_is_an_error(make_case) -> None:
    line = to_line(make_case("a")).replace(b'"pass"', b'"passed"')
    with pytest.raises(ResultError, match="passed"):
        from_line(line)
