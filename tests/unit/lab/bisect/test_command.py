"""``kvmabi lab bisect`` and its step, with what builds and runs taken out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kvmabi import cli, verbs
from kvmabi.errors import BuildFailed, ExitCode, KernelLost, UsageError
from kvmabi.ioeventfd.cases import all_cases
from kvmabi.ioeventfd.select import select
from kvmabi.lab.bisect.judge import Answer
from kvmabi.lab.bisect.tree import Git
from kvmabi.lab.build import tools
from kvmabi.lab.commands import bisect, bisect_step
from kvmabi.lab.commands.bisect import judging_words
from kvmabi.lab.commands.bisect_step import Plan, Step, last_line, run_words, sent_to
from kvmabi.results import CaseRecord, Disagreement, RunRecord, Tally, Verdict
from kvmabi.results.record import to_line

from .conftest import until

CASE = "match-pio-len4-equal-w4-at0-write"
STAND_IN = """\
import pathlib, sys, time
from kvmabi.lab.commands.bisect_step import Plan
state = pathlib.Path("state").read_text().strip()
plan = Plan.read(pathlib.Path(sys.argv[1]))
plan.say(f"looking at {pathlib.Path('number').read_text().strip()}")
if state == "hang":
    time.sleep(600)
plan.say(f"  {state}: a reason")
sys.exit({"good": 0, "bad": 1, "skip": 125, "abort": 128}[state])
"""
WITH_STAND_IN = """\
import signal, sys
from kvmabi.lab.build import tools
from kvmabi.lab.commands import bisect
from kvmabi.cli import main
for number in (signal.SIGTERM, signal.SIGHUP):  # who runs the tests may have them ignored
    signal.signal(number, signal.SIG_DFL)
bisect.STEP = (sys.executable, sys.argv[1])
bisect.check_tools = tools.check = lambda _: None
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path, ("matrix", "--filter", "pio"), "svm", "tiny", (), 2, 60.0)


def test_a_plan_survives_its_file(plan: Plan) -> None:
    plan = replace(plan, patches=("pv-mmio",), log="/some/log")
    assert Plan.read(plan.write()) == plan


@pytest.mark.parametrize("words", [["matrix", "--repro", CASE], ["matrix", f"--repro={CASE}"]])
def test_a_case_to_repeat_is_a_matrix_of_it_alone(words: list[str]) -> None:
    verb, option, pattern, more = judging_words(words)
    assert (verb, option, more) == ("matrix", "--filter", "--fail-fast")
    assert [case.id for case in select([pattern])] == [CASE]
    assert len(select([CASE])) > 1


@pytest.mark.parametrize(
    "line", [["TREE", "--good", "a", "--bad", "b"], ["--good", "a", "--bad", "b", "TREE"]]
)
def test_the_tree_stands_where_one_likes(line: list[str]) -> None:
    words = ["matrix", "--repro", CASE]
    args = verbs.make_parser("lab").parse_args(["lab", "bisect", *line, "--", *words])
    assert (args.tree, args.words) == ("TREE", words)


def test_a_hazardous_case_is_asked_for_by_its_id() -> None:
    hazardous = next(case.id for case in all_cases() if case.hazardous)
    words = judging_words(["matrix", "--fail-fast", "--repro", hazardous])
    assert words == ("matrix", "--fail-fast", "--filter", hazardous)
    assert judging_words(["bench", "--plain"]) == ("bench", "--plain")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which verb"),
        (["matrix", "--repro", "no-such-case"], "there is no case"),
        (["matrix", "--filter", "no-such-case"], "no case fits"),
        (["matrix", "--json", "x"], "no use for --json"),
        (["matrix", "--list"], "no use for --list"),
        (["lab", "run"], "lab inside a lab"),
    ],
)
def test_words_that_judge_nothing_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        judging_words(words)


def test_only_a_verb_with_records_is_asked_for_them(plan: Plan) -> None:
    words = run_words(plan, Path("k"), Path("r"))
    assert words[:6] == ["--kernel", "k", "--backend", "svm", "--fresh", "--deadline"]
    assert words[-5:] == ["matrix", "--filter", "pio", "--json", "r"]
    other = replace(plan, words=("bench",), deadline_s=None)
    assert run_words(other, Path("k"), Path("r"))[4:] == ["--fresh", "--", "bench"]


def record(verdict: Verdict) -> bytes:
    run = RunRecord("matrix", "0", "", {}, {}, {}, 1)
    wrong = (Disagreement("write", 1, "no exit", "an exit"),) if verdict is Verdict.FAIL else ()
    case = CaseRecord("a", verdict, 0.1, "pio", "4", "match", (1,), "", wrong)
    tally = Tally(1)
    tally.add(case)
    return b"".join(map(to_line, [run, case, tally.end_record(1.0)]))


@pytest.fixture
def step(history, plan: Plan, monkeypatch) -> Step:
    """A step in a history whose commits are built by nobody."""
    made = history(["good"])
    monkeypatch.setattr(Step, "build", lambda _: Path("kernel"))
    return Step(plan, Git(made.path))


def lab_run(monkeypatch, act: Callable[[Path], int]) -> None:
    """Have `act` stand in for lab run; it gets the file of the records."""
    monkeypatch.setattr(bisect_step.lab_run, "run", lambda args: act(Path(args.words[-1])))


@pytest.mark.parametrize(
    ("verdict", "answer", "notes"),
    [
        (Verdict.PASS, Answer.GOOD, ["  good: 1 cases as promised"]),
        (
            Verdict.FAIL,
            Answer.BAD,
            [
                "  bad: a: promise 1, expected: no exit, seen: an exit",
                *(f"  bad again, {number} of 3" for number in (1, 2, 3)),
                "  bad: a: promise 1, expected: no exit, seen: an exit",
            ],
        ),
    ],
)
def test_a_step_notes_what_it_sees(step: Step, monkeypatch, verdict, answer, notes) -> None:
    lab_run(monkeypatch, lambda records: records.write_bytes(record(verdict)) and 0)
    assert step.judge().answer is answer
    first, *rest = step.plan.noted()
    assert first.startswith("looking at ")
    assert first.endswith("Change number 0: good")
    assert rest == notes
    assert step.plan.last_note() == notes[-1].strip()


def test_records_of_the_run_before_count_for_nothing(step: Step, monkeypatch) -> None:
    runs = iter([record(Verdict.FAIL), None])

    def run(records: Path) -> int:
        data = next(runs)
        if data is None:
            raise KernelLost("it was not up; words")
        records.write_bytes(data)
        return 1

    lab_run(monkeypatch, run)
    assert str(step.judge()) == "skip: flaky: bad 1 times, then skip: does not boot: it was not up"


def test_without_records_the_exit_code_and_the_last_line_tell(step: Step, monkeypatch) -> None:
    def run(_: Path) -> int:
        subprocess.run([sys.executable, "-c", "print('no KVM here')"], check=True)
        return ExitCode.NOTHING_CHECKED

    lab_run(monkeypatch, run)
    assert str(step.judge()) == "skip: no KVM here"


def test_a_patch_that_does_not_fit_is_a_commit_that_does_not_build(step: Step) -> None:
    patch = step.plan.folder / "fix.diff"
    patch.write_text("--- a/state\n+++ b/state\n@@ -1 +1 @@\n-other\n+new\n")
    other = Step(replace(step.plan, patches=(str(patch),)), step.git)
    with pytest.raises(BuildFailed, match="does not apply"), other.patched():
        pass
    assert step.git("status", "--porcelain") == ""


def test_a_patch_is_there_for_the_build_alone(step: Step) -> None:
    patch = step.plan.folder / "fix.diff"
    added = "--- /dev/null\n+++ b/more\n@@ -0,0 +1 @@\n+more\n"
    patch.write_text(f"--- a/state\n+++ b/state\n@@ -1 +1 @@\n-good\n+new\n{added}")
    with Step(replace(step.plan, patches=(str(patch),)), step.git).patched():
        assert (step.git.folder / "state").read_text() == "new\n"
        assert (step.git.folder / "more").exists()
    assert (step.git.folder / "state").read_text() == "good\n"
    assert not (step.git.folder / "more").exists()


def test_what_a_run_says_by_any_way_goes_to_its_file(tmp_path: Path, capfd) -> None:
    path = tmp_path / "said"
    with sent_to(path):
        os.write(1, b"one\n")
        os.write(2, b"two\n")
        subprocess.run([sys.executable, "-c", "print('three')"], check=True)
    os.write(1, b"four\n")
    assert {*path.read_text().split()} == {"one", "two", "three"}
    assert last_line(path) in ("one", "two", "three")
    assert capfd.readouterr().out == "four\n"


@pytest.mark.parametrize("argument", [[], ["/no/such/plan"]])
def test_a_step_that_fails_is_no_verdict(argument: list[str], monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["step", *argument])
    assert bisect_step.main() == Answer.ABORT
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(ZeroDivisionError("oops"), 128), (UsageError("no"), 128), (KeyboardInterrupt(), 130)],
)
def test_an_error_in_a_step_is_no_verdict(plan: Plan, monkeypatch, error, code: int) -> None:
    def fail(_: Step) -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["step", str(plan.write())])
    monkeypatch.setattr(Step, "judge", fail)
    assert bisect_step.main() == code


@pytest.fixture
def bisect_history(history, tmp_path: Path, monkeypatch) -> Callable[..., int]:
    """Bisects a history of these states by the command, with a stand-in for its step."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(bisect, "STEP", (sys.executable, str(script)))
    monkeypatch.setattr(bisect, "check_tools", lambda _: None)
    monkeypatch.setattr(tools, "check", lambda _: None)

    def run(*states: str, options: tuple[str, ...] = ()) -> int:
        made = history(states)
        ends = ["--good", f"HEAD~{len(states) - 1}", "--bad", "main", *options]
        code = cli.main(["lab", "bisect", str(made.path), *ends, "--", "matrix", "--repro", CASE])
        assert list((tmp_path / "cache").glob("bisect/*")) == []
        return code

    return run


def test_the_log_ends_with_the_first_bad_commit(bisect_history, tmp_path: Path, capfd) -> None:
    log = tmp_path / "log"
    options = ("--log", str(log))
    assert bisect_history("good", "skip", "good", "bad", "bad", options=options) == ExitCode.KEPT
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[:4] == [
        "# looking at 0",
        "#   good: a reason",
        "# looking at 4",
        "#   bad: a reason",
    ]
    assert lines[-1].startswith("# first bad commit: [")
    assert lines[-1].endswith("] Change number 3: bad")
    assert log.read_text() == out
    assert err in ("", "kvmabi lab: commits skipped: 1\n")


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_what_was_seen_is_in_the_log_whatever_ends_it(
    history, tmp_path: Path, by: signal.Signals
) -> None:
    made, log, script = history(["good", "hang", "bad"]), tmp_path / "log", tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    ends = ["--good", "HEAD~2", "--bad", "main", "--log", str(log)]
    words = ["lab", "bisect", str(made.path), *ends, "--", "matrix", "--repro", CASE]
    command = [sys.executable, "-c", WITH_STAND_IN, str(script), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ours:
        assert until(lambda: "# looking at 1\n" in log.read_text())
        os.kill(ours.pid, by)
        out, _ = ours.communicate(timeout=60)
    notes = (
        "# looking at 0\n#   good: a reason\n# looking at 2\n#   bad: a reason\n# looking at 1\n"
    )
    if by is signal.SIGKILL:
        assert (log.read_text(), ours.returncode) == (notes, -by)
        return
    assert ours.returncode == 130
    assert log.read_text() == out
    assert out.startswith(notes)
    assert "\ngit bisect start" in out
    assert list((tmp_path / "cache").glob("bisect/*")) == []


@pytest.mark.parametrize("wrong", ["--good", "--bad"])
def test_an_old_log_stays_until_there_is_something_to_write(
    bisect_history, tmp_path: Path, wrong: str
) -> None:
    log = tmp_path / "log"
    log.write_text("hours of work\n")
    options = ("--log", str(log), wrong, "no-such-commit")
    assert bisect_history("good", "bad", options=options) == ExitCode.USAGE
    assert log.read_text() == "hours of work\n"


def test_where_only_skipped_commits_are_left_nothing_is_named(bisect_history, capfd) -> None:
    assert bisect_history("good", "skip", "bad") == ExitCode.NOTHING_CHECKED
    out, err = capfd.readouterr()
    assert "# first bad commit" not in out
    assert out.count("# possible first bad commit") == 2
    assert "commits skipped: 1\n" in err
    assert "one of the 2 possible ones" in err


def test_what_was_seen_is_told_where_it_stops(bisect_history, capfd) -> None:
    assert bisect_history("good", "abort", "bad") == ExitCode.HARNESS_FAILED
    out, err = capfd.readouterr()
    assert "# looking at 1\n#   abort: a reason\n" in out
    assert err.endswith("kvmabi lab: git bisect run stopped: abort: a reason\n")


def test_ends_that_are_wrong_are_refused_with_the_reason(bisect_history, capfd) -> None:
    assert bisect_history("bad", "bad") == ExitCode.USAGE
    assert "is not good, so there is no first bad: bad: a reason\n" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--patch", "no-such-patch"), "there is no patch"),
        (("--log", "/no/such/folder/log"), "--log /no/such/folder/log: No such file"),
        (("--good", "no-such-commit"), "has no commit 'no-such-commit'"),
        (("--good", "main"), "are one commit"),
        (("--jobs", "0"), "--jobs 0"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(bisect_history, capfd, options, said) -> None:
    assert bisect_history("good", "bad", options=options) == ExitCode.USAGE
    assert said in capfd.readouterr().err
