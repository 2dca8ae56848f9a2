from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvmabi.errors import ExitCode, GuestCrash, ResultError
from kvmabi.results import RunRecord, Verdict, Writer, read_result
from kvmabi.results.recorder import Recorder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "result.jsonl"


def test_a_whole_run(path: Path, run_record: RunRecord, make_case, capsys) -> None:
    with Recorder(run_record, json=str(path)) as recorder:
        recorder.add(make_case("a"), make_case("b"))
        recorder.add(make_case("c"))
    assert recorder.exit_code is ExitCode.KEPT
    result = read_result(path)
    assert [case.id for case in result.cases] == ["a", "b", "c"]
    assert result.end is not None
    assert (result.end.planned, result.end.executed, result.end.interrupted) == (3, 3, False)
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("matrix: 3 cases: 3 pass, 0 fail, 0 skip in ")
    assert err == ""


def test_without_a_file_the_summary_is_all(run_record: RunRecord, make_case, capsys) -> None:
    with Recorder(run_record) as recorder:
        recorder.add(make_case("a"), make_case("b"), make_case("c", Verdict.FAIL))
    assert recorder.exit_code is ExitCode.BROKEN
    assert "kvmabi matrix --repro c" in capsys.readouterr().out


def test_a_lost_case_is_the_harness(path: Path, run_record, make_case, capsys) -> None:
    with Recorder(run_record, json=str(path)) as recorder:
        recorder.add(make_case("a"), make_case("b"))
    assert recorder.exit_code is ExitCode.HARNESS_FAILED
    end = read_result(path).end
    assert end is not None
    assert end.problems == ("3 cases were planned and 2 executed",)
    assert "harness: 3 cases were planned and 2 executed" in capsys.readouterr().out


def test_on_stdout_machine_output_stands_alone(run_record, make_case, capfd) -> None:
    with Recorder(run_record, json="-") as recorder:
        recorder.add(*(make_case(name) for name in "abc"))
    out, err = capfd.readouterr()
    kinds = [json.loads(line)["type"] for line in out.splitlines()]
    assert kinds == ["run", "case", "case", "case", "end"]
    assert "matrix: 3 cases: 3 pass" in err


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.FAIL, ExitCode.BROKEN), (Verdict.PASS, ExitCode.HARNESS_FAILED)]
)
def test_a_run_cut_short_is_never_green(
    path: Path, run_record, make_case, capsys, verdict: Verdict, code: ExitCode
) -> None:
    with Recorder(run_record, json=str(path)) as recorder:
        recorder.add(make_case("a", verdict))
        recorder.cut_short()
    assert recorder.exit_code is code
    end = read_result(path).end
    assert end is not None
    assert (end.planned, end.executed, end.interrupted, end.problems) == (3, 1, True, ())
    assert "matrix: 1 of 3 cases: " in capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GuestCrash("triple fault")])
def test_an_interrupted_run_keeps_what_ended_and_says_how_to_go_on(
    path: Path, run_record, make_case, capsys, error: BaseException
) -> None:
    recorder = Recorder(run_record, json=str(path))
    with pytest.raises(type(error)), recorder:
        recorder.add(make_case("a"))
        raise error
    assert recorder.exit_code is ExitCode.HARNESS_FAILED
    end = read_result(path).end
    assert end is not None
    assert end.interrupted
    assert f"kvmabi matrix --resume {path}" in capsys.readouterr().out


def test_a_resumed_run_is_one_run(path: Path, run_record: RunRecord, make_case) -> None:
    with pytest.raises(KeyboardInterrupt), Recorder(run_record, json=str(path)) as first:
        first.add(make_case("a", Verdict.FAIL))
        raise KeyboardInterrupt
    later = dataclasses.replace(run_record, started="later")
    with Recorder(later, resume=str(path)) as second:
        assert second.ended_ids == {"a"}
        second.add(make_case("b"), make_case("c"))
    assert second.exit_code is ExitCode.BROKEN
    result = read_result(path)
    assert result.run == run_record
    assert [case.id for case in result.cases] == ["a", "b", "c"]
    assert result.end is not None
    assert (result.end.executed, result.end.interrupted) == (3, False)
    assert result.end.verdicts["fail"] == 1


def test_a_finished_run_can_be_resumed_and_stays_as_it_was(
    path: Path, run_record, make_case
) -> None:
    with Recorder(run_record, json=str(path)) as first:
        first.add(*(make_case(name) for name in "abc"))
    with Recorder(run_record, resume=str(path)) as second:
        assert second.ended_ids == {"a", "b", "c"}
    assert second.exit_code is ExitCode.KEPT


def test_a_resumed_run_took_the_seconds_of_all_its_parts(
    path: Path, run_record, make_case, monkeypatch
) -> None:
    clock = SimpleNamespace(monotonic=iter([10.0, 12.0, 100.0, 103.5]).__next__)
    monkeypatch.setattr("kvmabi.results.recorder.time", clock)
    with pytest.raises(KeyboardInterrupt), Recorder(run_record, json=str(path)):
        raise KeyboardInterrupt
    with Recorder(run_record, resume=str(path)) as second:
        second.add(*(make_case(name) for name in "abc"))
    end = read_result(path).end
    assert end is not None
    assert end.seconds == 5.5


def test_another_kernel_cannot_resume_and_the_file_stays_whole(
    path: Path, run_record, make_case
) -> None:
    with Recorder(run_record, json=str(path)) as first:
        first.add(*(make_case(name) for name in "abc"))
    before = path.read_bytes()
    other = dataclasses.replace(run_record, host={"kernel_release": "6.19.0"})
    with pytest.raises(ResultError, match="kernel_release"):
        Recorder(other, resume=str(path))
    assert path.read_bytes() == before


def test_a_full_disk_still_gives_the_summary(run_record, make_case, capsys) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(ResultError, match="No space left"):
        Recorder(run_record, json="/dev/full")
    with pytest.raises(ResultError, match="No space left"), Recorder(run_record) as recorder:
        recorder._writer = Writer("/dev/full")
        recorder.add(make_case("a"))
    assert "matrix: 0 of 3 cases" in capsys.readouterr().out


def test_a_resumed_run_runs_cases_in_error_again(path: Path, run_record, make_case) -> None:
    with Recorder(run_record, json=str(path)) as first:
        first.add(make_case("a"), make_case("b", Verdict.ERROR), make_case("c", Verdict.FAIL))
    with Recorder(run_record, resume=str(path)) as second:
        assert second.ended_ids == {"a", "c"}
        second.add(make_case("b"))
    result = read_result(path)
    assert {case.id: case.verdict for case in result.cases}["b"] is Verdict.PASS
    assert result.end is not None
    assert (result.end.executed, result.end.verdicts["error"], result.end.problems) == (3, 0, ())
