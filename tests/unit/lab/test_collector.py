from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode, KernelLost
from kvmabi.ioeventfd.case_log import thread_name
from kvmabi.lab.collector import ANYONES, CLEAN_LOG, Collector, Terms
from kvmabi.lab.frames import Frame, Kind
from kvmabi.lab.klog import BOOTED
from kvmabi.results import Verdict, read_result
from kvmabi.results.record import CaseRecord, EndRecord, RunRecord, to_line

RUN = RunRecord(
    verb="matrix",
    kvmabi="0",
    started="2026-01-01T00:00:00+00:00",
    host={"kernel_release": "6.1", "back_end": "kvm_amd"},
    abi={"version": "7.2", "mask": 31, "mask_source": "BTF"},
    options={},
    planned=3,
)
IDS = ("one", "two", "three")


def case(name: str) -> bytes:
    return to_line(CaseRecord(name, Verdict.PASS, 0.1, "mmio", "4", "before", (1,)))


def log(*texts: str) -> Frame:
    return Frame(Kind.LOG, "".join(f"4,1,2,-;{text}\n" for text in texts).encode())


def records(*lines: bytes) -> Frame:
    return Frame(Kind.RECORDS, b"".join(lines))


END = to_line(EndRecord(3, 3, {"pass": 3}, 1.0))
EXIT = Frame(Kind.EXIT, b'{"exit": 0, "tainted": 0}')


@pytest.fixture
def play(tmp_path: Path):
    """Gives frames to a collector, and returns it with the result; `lost` is the end of it."""
    path = tmp_path / "result.jsonl"

    def play(*frames: Frame | None, lost: tuple[str, str] | None = None):
        terms = Terms(str(path), "kvmabi lab run -- matrix --repro", {"backend": "svm"})
        with Collector(terms) as collector:
            for frame in frames:
                collector.take(frame)
            if lost:
                collector.lost(KernelLost(lost[0]), lost[1])
            else:
                collector.finish()
            collector.close()
        return collector, read_result(path) if path.exists() else None

    return play


def test_a_whole_run_is_as_on_this_machine(play, capsys) -> None:
    lines = [to_line(RUN), *map(case, IDS), END]
    whole = b"".join(lines)
    pieces = [Frame(Kind.RECORDS, whole[at : at + 100]) for at in range(0, len(whole), 100)]
    collector, result = play(*pieces, Frame(Kind.OUT, b"the summary inside"), None, EXIT)
    assert collector.exit_code == ExitCode.KEPT
    assert [one.id for one in result.cases] == list(IDS)
    assert result.run.host["lab"] == {
        "backend": "svm",
        "repro": "kvmabi lab run -- matrix --repro",
    }
    assert result.end.problems == ()
    out = capsys.readouterr().out
    assert "matrix: 3 cases: 3 pass" in out
    assert "the summary inside" not in out


def test_what_the_log_says_fails_the_case_that_was_running(play) -> None:
    collector, result = play(
        records(to_line(RUN)),
        log("kvmabi: case one", "kvmabi: case two"),
        log("WARNING: CPU: 0 at x", "Call Trace:", "kvmabi: case three"),
        records(*map(case, IDS), END),
        EXIT,
    )
    assert collector.exit_code == ExitCode.BROKEN
    assert [one.verdict for one in result.cases] == ["pass", "fail", "pass"]
    (found,) = result.cases[1].disagreements
    assert (found.promise, found.expected) == (0, "nothing")
    assert found.seen == "WARNING: CPU: 0 at x\nCall Trace:"


@pytest.mark.parametrize(
    ("mark", "verdicts", "revised"),
    [
        ("three", ["pass", "pass", "fail"], [False, False, False]),
        ("one", ["fail", "pass", "pass"], [True, False, False]),
    ],
)
def test_a_finding_after_its_cases_record_still_counts_and_an_earlier_one_is_revised(
    play, capsys, mark: str, verdicts: list[str], revised: list[bool]
) -> None:
    collector, result = play(
        records(to_line(RUN), *map(case, IDS)),
        log(f"kvmabi: case {mark}", "BUG: x"),
        records(END),
        EXIT,
    )
    assert collector.exit_code == ExitCode.BROKEN
    assert [one.id for one in result.cases] == list(IDS)
    assert [one.verdict for one in result.cases] == verdicts
    assert [one.revised for one in result.cases] == revised
    assert result.end.verdicts["fail"] == 1
    assert result.end.verdicts["pass"] == 2
    assert "3 cases: 2 pass, 1 fail" in capsys.readouterr().out


def leak(thread: str) -> tuple[str, ...]:
    return (
        "unreferenced object 0xffff888003a5c3c0 (size 64):",
        f'  comm "{thread}", pid 7, jiffies',
    )


def test_leaked_memory_fails_the_case_that_allocated_it(play) -> None:
    leaks = [*leak(thread_name("one")), *leak(thread_name("three")), *leak(thread_name("one"))]
    collector, result = play(
        records(to_line(RUN), *map(case, IDS)),
        log("kvmabi: case three"),
        log(*leaks),
        records(END),
        EXIT,
    )
    assert collector.exit_code == ExitCode.BROKEN
    assert [one.verdict for one in result.cases] == ["fail", "pass", "fail"]
    assert [len(one.disagreements) for one in result.cases] == [2, 0, 1]
    assert result.cases[0].promises == (1, CLEAN_LOG)
    assert result.cases[2].disagreements[0].seen == "\n".join(leak(thread_name("three")))


def test_leaked_memory_of_nobody_is_told_as_such_at_the_last_case(play) -> None:
    _, result = play(
        records(to_line(RUN), *map(case, IDS)),
        log("kvmabi: case three", *leak("kworker/0:1")),
        records(END),
        EXIT,
    )
    assert [one.verdict for one in result.cases] == ["pass", "pass", "fail"]
    assert result.cases[2].disagreements[0].seen.endswith(ANYONES)


@pytest.mark.parametrize(
    ("mark", "text"),
    [("another", "at the case another, which has no verdict"), ("", "before the first case")],
)
def test_a_finding_outside_of_all_cases_is_a_problem(play, mark: str, text: str) -> None:
    marks = [BOOTED, *([f"kvmabi: case {mark}"] if mark else [])]
    collector, result = play(
        records(to_line(RUN), *map(case, IDS)), log(*marks, "BUG: x"), records(END), EXIT
    )
    assert collector.exit_code == ExitCode.HARNESS_FAILED
    assert text in result.end.problems[0]


def test_a_finding_at_boot_is_told_and_kept_and_is_no_verdict_on_kvm(play, capsys) -> None:
    collector, result = play(
        log("WARNING: CPU: 0 PID: 0 at fpu", "Call Trace:", BOOTED, "kvmabi: case one"),
        records(to_line(RUN), *map(case, IDS), END),
        EXIT,
    )
    assert collector.exit_code == ExitCode.KEPT
    assert result.end.notes["boot_warnings"] == ["WARNING: CPU: 0 PID: 0 at fpu"]
    assert "before KVM was there: WARNING: CPU: 0 PID: 0 at fpu\n" in capsys.readouterr().err


def test_damage_on_the_line_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "result.jsonl"
    with Collector(Terms(str(path), "", {})) as collector:
        collector.take(records(to_line(RUN), *map(case, IDS), END))
        collector.take(EXIT)
        collector.finish(damaged_bytes=7, carrier="a pigeon")
        collector.close()
    assert collector.exit_code == ExitCode.HARNESS_FAILED
    assert read_result(path).end.notes["carrier"] == "a pigeon"
    (problem,) = read_result(path).end.problems
    assert problem == "7 bytes of what the kernel under test sent came damaged"


@pytest.mark.parametrize("cases", [True, False])
def test_a_log_that_ran_over_is_the_harness(tmp_path: Path, cases: bool) -> None:
    path = tmp_path / "result.jsonl"
    with Collector(Terms(str(path), "", {}, cases=cases)) as collector:
        collector.take(records(to_line(RUN), *map(case, IDS), END))
        collector.take(Frame(Kind.EXIT, b'{"exit": 0, "tainted": 0, "log_overrun": 2}'))
        if cases:
            collector.finish()
            collector.close()
            assert collector.exit_code == ExitCode.HARNESS_FAILED
            assert "ran over 2 times" in read_result(path).end.problems[0]
        else:
            with pytest.raises(KernelLost, match="ran over 2 times"):
                collector.finish()


def test_a_taint_is_told_too_where_there_is_no_result() -> None:
    tainted = Frame(Kind.EXIT, b'{"exit": 0, "tainted": 512, "tainted_before": 0}')
    with Collector(Terms(None, "", {}, cases=False)) as collector:
        collector.take(tainted)
        with pytest.raises(KernelLost, match="taint went from 0x0 to 0x200"):
            collector.finish()
    with Collector(Terms(None, "", {}, cases=False)) as collector:  # the control: explained
        collector.take(log(BOOTED, "BUG kmalloc-64 (Not tainted): Object already free"))
        collector.take(tainted)
        collector.finish()
        assert collector.exit_code == ExitCode.BROKEN


def test_ctrl_c_keeps_the_case_that_ended_last(tmp_path: Path) -> None:
    path = tmp_path / "result.jsonl"
    with (
        pytest.raises(KeyboardInterrupt),
        Collector(Terms(str(path), "", {})) as collector,
    ):
        collector.take(log("kvmabi: case one", "BUG: x"))
        collector.take(records(to_line(RUN), case("one")))
        raise KeyboardInterrupt
    assert [(one.id, one.verdict) for one in read_result(path).cases] == [("one", "fail")]


def test_a_case_is_in_the_file_as_soon_as_the_log_says_no_more_of_it(tmp_path: Path) -> None:
    path = tmp_path / "result.jsonl"
    with Collector(Terms(str(path), "", {})) as collector:
        collector.take(log("kvmabi: case one"))
        collector.take(records(to_line(RUN), case("one")))
        collector.take(None)
        assert [one.id for one in read_result(path).cases] == ["one"]
        collector.take(log("kvmabi: case two", "BUG: x"))
        collector.take(records(case("two")))
        collector.take(None)
        assert [one.id for one in read_result(path).cases] == ["one"]
        collector.take(log("more of it", "kvmabi: case three"))
        collector.take(None)
        assert read_result(path).cases[1].disagreements[0].seen == "BUG: x\nmore of it"


def test_damage_where_there_is_no_result_is_an_error() -> None:
    with Collector(Terms(None, "", {}, cases=False)) as collector:
        collector.take(EXIT)
        with pytest.raises(KernelLost, match="7 bytes"):
            collector.finish(damaged_bytes=7)
        collector.finish()  # the control


@pytest.mark.parametrize(
    ("before", "after", "text", "problems"),
    [(0, 0, "", 0), (512, 512, "", 0), (0, 512, "WARNING: CPU: 0 at x", 0), (0, 512, "", 1)],
)
def test_the_taint_is_recorded_and_must_be_explained(
    tmp_path: Path, before: int, after: int, text: str, problems: int
) -> None:
    path = tmp_path / "result.jsonl"
    with Collector(Terms(str(path), "", {})) as collector:
        collector.take(records(to_line(RUN)))
        collector.take(log("kvmabi: case one", *([text] if text else [])))
        collector.take(records(*map(case, IDS), END))
        collector.take(Frame(Kind.EXIT, json.dumps({"exit": 0, "tainted": after}).encode()))
        collector.finish(tainted_before=before)
        collector.close()
    end = read_result(path).end
    assert end is not None
    assert end.notes == {"tainted": after}
    assert len(end.problems) == problems


def test_a_lost_kernel_keeps_all_before_it(play, capsys) -> None:
    collector, result = play(
        records(to_line(RUN), case("one")),
        log("kvmabi: case one", "kvmabi: case two"),
        lost=("the machine went down; the kernel's last words:\n  Kernel panic", "two"),
    )
    assert collector.exit_code == ExitCode.HARNESS_FAILED
    assert [(one.id, one.verdict) for one in result.cases] == [("one", "pass"), ("two", "error")]
    assert "Kernel panic" in result.cases[1].reason
    lost, count = result.end.problems
    assert lost == "the kernel under test was lost after the case one: the machine went down"
    assert count == "3 cases were planned and 2 executed"
    assert "Kernel panic" in capsys.readouterr().out


def test_a_case_that_had_ended_is_not_lost(play) -> None:
    _, result = play(records(to_line(RUN), case("one")), lost=("it hangs", "one"))
    assert [(one.id, one.verdict) for one in result.cases] == [("one", "pass")]


def test_without_records_the_output_and_the_exit_code_are_the_verbs(play, capfd) -> None:
    collector, result = play(
        Frame(Kind.OUT, b"text"), Frame(Kind.ERR, b"bad"), Frame(Kind.EXIT, b'{"exit": 2}')
    )
    assert (collector.exit_code, result) == (2, None)
    assert capfd.readouterr() == ("text", "bad")


def test_json_that_is_no_result_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("an earlier report")
    with Collector(Terms(str(path), "", {}, cases=False)) as collector:
        collector.take(Frame(Kind.RECORDS, b'{"a":'))
        collector.lost(KernelLost("it hangs"), "")
    assert path.read_text() == "an earlier report"


def test_json_that_is_no_result_goes_to_its_file_unread(tmp_path: Path) -> None:
    with Collector(Terms(str(tmp_path / "out"), "", {}, cases=False)) as collector:
        collector.take(Frame(Kind.RECORDS, b'{"a":'))
        collector.take(Frame(Kind.RECORDS, b" 1}"))
        collector.take(EXIT)
        collector.finish()
        collector.close()
    assert collector.exit_code == ExitCode.KEPT
    assert (tmp_path / "out").read_text() == '{"a": 1}'


@pytest.mark.parametrize(
    ("texts", "own", "code"),
    [
        (["BUG: here"], 0, ExitCode.BROKEN),
        (["BUG: here"], 3, ExitCode.NOTHING_CHECKED),
        (["all is well"], 0, ExitCode.KEPT),
    ],
)
def test_a_finding_at_a_verb_without_records_is_told(
    capsys: pytest.CaptureFixture[str], texts: list[str], own: int, code: int
) -> None:
    with Collector(Terms(None, "", {}, cases=False)) as collector:
        collector.take(log(BOOTED, *texts, "and more"))
        collector.take(Frame(Kind.EXIT, json.dumps({"exit": own}).encode()))
        collector.finish()
        collector.close()
    assert collector.exit_code == code
    told = "kvmabi lab: the kernel's log: BUG: here\n  and more\n" if "BUG: here" in texts else ""
    assert capsys.readouterr().err == told


def test_what_was_wrong_before_kvm_was_there_is_told_and_no_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Collector(Terms(None, "", {}, cases=False)) as collector:
        collector.take(log("WARNING: CPU: 0 at boot", BOOTED))
        collector.take(EXIT)
        collector.finish()
        collector.close()
    assert collector.exit_code == ExitCode.KEPT
    assert "before KVM was there: WARNING: CPU: 0 at boot" in capsys.readouterr().err


@pytest.mark.parametrize("ended", [{"exit": -9}, {}])
def test_a_verb_that_was_killed_is_the_harness(play, ended: dict[str, int]) -> None:
    frame = Frame(Kind.EXIT, json.dumps(ended).encode())
    assert play(frame)[0].exit_code == ExitCode.HARNESS_FAILED


def test_a_verb_that_ends_without_its_end_record_is_the_harness(play) -> None:
    collector, result = play(records(to_line(RUN), *map(case, IDS)), EXIT)
    assert collector.exit_code == ExitCode.HARNESS_FAILED
    assert "did not come to its end" in result.end.problems[0]


def test_problems_inside_are_problems_here(play) -> None:
    end = to_line(EndRecord(3, 3, {"pass": 3}, 1.0, problems=("odd",)))
    collector, result = play(records(to_line(RUN), *map(case, IDS), end), EXIT)
    assert collector.exit_code == ExitCode.HARNESS_FAILED
    assert result.end.problems == ("odd",)


def test_a_run_that_ended_early_in_there_did_so_here(play) -> None:
    fail = CaseRecord("one", Verdict.FAIL, 0.1, "mmio", "4", "before", (1,))
    end = to_line(EndRecord(3, 1, {"fail": 1}, 1.0, interrupted=True))
    collector, result = play(records(to_line(RUN), to_line(fail), end), EXIT)
    assert collector.exit_code == ExitCode.BROKEN
    assert (result.end.executed, result.end.interrupted, result.end.problems) == (1, True, ())
