from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode, ResultError
from kvmabi.results import EndRecord, RunRecord, Verdict, Writer, read_result
from kvmabi.results.record import to_line
from kvmabi.results.store import check_resumable

END = EndRecord(planned=3, executed=2, verdicts={"pass": 2}, seconds=2.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "result.jsonl"


def test_what_was_written_is_read(path: Path, run_record: RunRecord, make_case) -> None:
    cases = (make_case("a"), make_case("b", Verdict.FAIL))
    with Writer(path) as writer:
        writer.write(run_record)
        writer.write(*cases)
        writer.write(END)
    result = read_result(path)
    assert result.run == run_record
    assert result.cases == cases
    assert result.end == END
    assert result.whole_bytes == path.stat().st_size


def test_a_record_is_in_the_file_when_write_returns(path: Path, run_record, make_case) -> None:
    with Writer(path) as writer:
        writer.write(run_record)
        for number in range(3):
            writer.write(make_case(f"case-{number}"))
            assert len(read_result(path).cases) == number + 1


def test_starting_anew_drops_the_old_file(path: Path, run_record: RunRecord, make_case) -> None:
    for name in ("old", "new"):
        with Writer(path) as writer:
            writer.write(run_record, make_case(name))
    assert [case.id for case in read_result(path).cases] == ["new"]


@pytest.mark.parametrize("content", ["a letter\n", "{}\n", '{"type": "case"}\n', "[1]", "\0" * 9])
def test_a_file_that_is_no_result_is_not_overwritten(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ResultError, match="no result of kvmabi, and is not overwritten") as caught:
        Writer(path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == content


def test_an_empty_file_may_be_written(path: Path, run_record: RunRecord) -> None:
    path.touch()
    with Writer(path) as writer:
        writer.write(run_record)
    assert read_result(path).run == run_record


@pytest.fixture
def synced(monkeypatch) -> list[int]:
    """How many bytes the file had at each sync."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: sizes.append(os.fstat(fd).st_size))
    return sizes


def test_records_go_to_disk_now_and_then_and_at_the_end(
    path: Path, run_record, make_case, synced, monkeypatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("kvmabi.results.store.time.monotonic", lambda: now[0])
    with Writer(path) as writer:
        writer.write(run_record)
        assert synced == [path.stat().st_size]
        writer.write(make_case("a"))
        writer.sync_if_due()
        assert len(synced) == 1
        now[0] += 0.2
        writer.sync_if_due()
        assert synced[1:] == [path.stat().st_size]
        now[0] += 0.2
        writer.sync_if_due()
        assert len(synced) == 2
        writer.write(make_case("b"))
        writer.write(make_case("c"))
    assert synced[-1] == path.stat().st_size
    assert len(synced) == 4


def test_a_slow_disk_is_synced_less_often(path: Path, make_case, monkeypatch) -> None:
    now = [100.0]
    syncs = []

    def slow(_fd: int) -> None:
        syncs.append(now[0])
        now[0] += 1

    monkeypatch.setattr("kvmabi.results.store.time.monotonic", lambda: now[0])
    monkeypatch.setattr(os, "fdatasync", slow)
    with Writer(path) as writer:
        for number in range(40):
            writer.write(make_case(f"case-{number}"))
            now[0] += 0.5
    assert syncs[:2] == [100, 111]  # a tenth of the time goes into syncs of a second each
    assert len(syncs) == 3


def test_what_is_no_file_is_not_synced(run_record: RunRecord, synced) -> None:
    with Writer("/dev/null") as writer:
        writer.write(run_record)
    assert synced == []


def test_a_disk_that_fills_up_is_the_harness(run_record: RunRecord) -> None:
    with Writer("/dev/full") as writer, pytest.raises(ResultError, match="No space") as caught:
        writer.write(run_record)
    assert caught.value.exit_code == ExitCode.HARNESS_FAILED


def test_a_case_in_error_may_be_run_again(path: Path, run_record, make_case) -> None:
    again = make_case("a", Verdict.FAIL)
    with Writer(path) as writer:
        writer.write(run_record, make_case("a", Verdict.ERROR), make_case("b"), again)
    assert read_result(path).cases == (make_case("b"), again)


@pytest.mark.parametrize("torn_at", [1, 20, -1])
def test_a_torn_last_line_is_left_out(path: Path, run_record, make_case, torn_at: int) -> None:
    whole = to_line(run_record) + to_line(make_case("a"))
    path.write_bytes(whole + to_line(make_case("b"))[:torn_at])
    result = read_result(path)
    assert [case.id for case in result.cases] == ["a"]
    assert result.end is None
    assert result.whole_bytes == len(whole)


def test_resuming_cuts_the_torn_line_and_appends(path: Path, run_record, make_case) -> None:
    path.write_bytes(to_line(run_record) + to_line(make_case("a")) + b'{"type":"case","id":"to')
    with Writer(path, keep_bytes=read_result(path).whole_bytes) as writer:
        writer.write(make_case("b"))
    assert [case.id for case in read_result(path).cases] == ["a", "b"]


def test_without_the_cut_the_reader_would_notice(path: Path, run_record, make_case) -> None:
    path.write_bytes(to_line(run_record) + b'{"type":"case","id":"to' + to_line(make_case("b")))
    with pytest.raises(ResultError, match=r"result\.jsonl:2: no JSON"):
        read_result(path)


def test_an_end_in_the_middle_is_superseded(path: Path, run_record, make_case) -> None:
    records = (run_record, make_case("a"), END, make_case("b"))
    path.write_bytes(b"".join(to_line(record) for record in records))
    assert read_result(path).end is None
    with path.open("ab") as file:
        file.write(to_line(dataclasses.replace(END, seconds=9.0)))
    result = read_result(path)
    assert result.end is not None
    assert result.end.seconds == 9.0
    assert [case.id for case in result.cases] == ["a", "b"]


def test_a_revised_record_counts_in_the_place_of_the_first(
    path: Path, run_record: RunRecord, make_case
) -> None:
    revised = dataclasses.replace(make_case("a", Verdict.FAIL), revised=True)
    records = (run_record, make_case("a"), make_case("b"), revised)
    path.write_bytes(b"".join(to_line(record) for record in records))
    cases = read_result(path).cases
    assert [(case.id, case.verdict) for case in cases] == [("a", "fail"), ("b", "pass")]
    path.write_bytes(b"".join(to_line(record) for record in (run_record, revised)))
    with pytest.raises(ResultError, match=r"result\.jsonl:2: a is revised, and not there"):
        read_result(path)


def test_a_duplicate_id_is_an_error(path: Path, run_record: RunRecord, make_case) -> None:
    records = (run_record, make_case("a"), make_case("b"), make_case("a"))
    path.write_bytes(b"".join(to_line(record) for record in records))
    with pytest.raises(ResultError, match=r"result\.jsonl:4: the case a stands here twice"):
        read_result(path)


def test_a_second_run_record_is_an_error(path: Path, run_record: RunRecord) -> None:
    path.write_bytes(to_line(run_record) * 2)
    with pytest.raises(ResultError, match="second run record"):
        read_result(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello\n", b'{"type":"run"', b"\x00\x01\x02"])
def test_something_else_is_no_result(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ResultError):
        read_result(path)


def test_a_result_that_starts_with_a_case_is_none(path: Path, make_case) -> None:
    path.write_bytes(to_line(make_case("a")))
    with pytest.raises(ResultError, match="does not start with a run record"):
        read_result(path)


def test_a_missing_file_says_so(path: Path) -> None:
    with pytest.raises(ResultError, match=r"result\.jsonl: No such file"):
        read_result(path)


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="cannot write the result"):
        Writer(tmp_path / "missing" / "result.jsonl")


def test_a_full_disk_is_an_error_with_its_reason(run_record: RunRecord) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Writer("/dev/full") as writer, pytest.raises(ResultError, match="No space left"):
        writer.write(run_record)


def test_half_a_record_does_not_stay_on_a_disk_that_is_full(
    path: Path, run_record: RunRecord, make_case, monkeypatch
) -> None:
    writer = Writer(path)
    writer.write(run_record)
    write = os.write
    written = []

    def half(fd: int, data: bytes) -> int:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(write(fd, data[: len(data) // 2]))
        return written[0]

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", half)
        with pytest.raises(ResultError, match="No space left"):
            writer.write(make_case("a"))
    assert written
    writer.write(make_case("b"))
    writer.close()
    assert [case.id for case in read_result(path).cases] == ["b"]


def test_two_runs_cannot_write_to_one_file(path: Path, run_record: RunRecord, make_case) -> None:
    with Writer(path) as writer:
        writer.write(run_record, make_case("a"))
        with pytest.raises(ResultError, match="another run is writing"):
            Writer(path)
    assert [case.id for case in read_result(path).cases] == ["a"]
    Writer(path).close()


def test_closing_twice_is_fine(path: Path) -> None:
    writer = Writer(path)
    writer.close()
    writer.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"verb": "explore"}, "verb"),
        ({"kvmabi": "9"}, "kvmabi version"),
        ({"planned": 4}, "planned"),
        ({"options": {"filter": ["pio"]}}, "options"),
        ({"abi": {"version": "7.2", "mask": 0x3F, "mask_source": "BTF"}}, "ABI"),
        ({"host": {"kernel_release": "6.19.0"}}, "kernel_release"),
    ],
)
def test_a_run_resumes_only_on_its_own_terms(run_record, change, says: str) -> None:
    check_resumable(run_record, dataclasses.replace(run_record, started="later"))
    with pytest.raises(ResultError, match=says):
        check_resumable(run_record, dataclasses.replace(run_record, **change))


WRITES_FOR_EVER = """
    import sys
    from kvmabi.results import CaseRecord, RunRecord, Verdict, Writer

    with Writer(sys.argv[1]) as writer:
        writer.write(RunRecord("matrix", "0", "now", {}, {}, {}, 10**9))
        number = 0
        while True:
            case = CaseRecord(f"case-{number}", Verdict.PASS, 0.0, "mmio", 4, "p" * 500)
            writer.write(case)
            number += 1
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
"""


def test_kill_9_loses_nothing_that_had_ended(path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WRITES_FOR_EVER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        ended = [int(next(child.stdout)) for _ in range(500)]
        os.kill(child.pid, signal.SIGKILL)
        ended += [int(line) for line in child.stdout if line.endswith("\n")]
        assert child.wait() == -signal.SIGKILL
    cases = read_result(path).cases
    assert len(cases) >= ended[-1]
    assert [case.id for case in cases] == [f"case-{number}" for number in range(len(cases))]
