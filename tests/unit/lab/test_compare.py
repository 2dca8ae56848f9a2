"""``kvmabi lab compare`` with runs that a script stands in for: no emulator, no kernel."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from rich.console import Console

from kvmabi import cli, verbs
from kvmabi.errors import ExitCode, UsageError
from kvmabi.lab import child
from kvmabi.lab.child import Child, Task
from kvmabi.lab.commands.compare import make_side, of_both, refuse_what_gives_no_result
from kvmabi.lab.pair import Follower, Side, play
from kvmabi.lab.pair_progress import PairProgress
from kvmabi.results import CaseRecord, Disagreement, RunRecord, Tally, Verdict
from kvmabi.results.record import to_line
from tests.unit.probe.conftest import make_report

STAND_IN = """\
# Stands in for kvmabi: "lab run" leaves what the kernel's name says; "compare" is the real one.
import os, pathlib, sys, time
words = sys.argv[1:]
if words[0] == "compare":
    from kvmabi.cli import main
    sys.exit(main(words))
kernel, result = words[words.index("--kernel") + 1], words[words.index("--json") + 1]
what, _, code = kernel.partition(":")
place = pathlib.Path(__file__).parent
(place / f"{what}.pid").write_text(str(os.getpid()))
(place / f"{what}.words").write_text(" ".join(words))
if what == "hang":
    time.sleep(600)
if (place / what).exists():
    pathlib.Path(result).write_bytes((place / what).read_bytes())
else:
    sys.stderr.write(f"kvmabi lab: {what}: no such kernel\\n")
sys.exit(int(code))
"""
WITH_STAND_IN = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kvmabi.lab import child
child.command = lambda words: [sys.executable, {script!r}, *words]
from kvmabi.cli import main
sys.exit(main(sys.argv[1:]))
"""
RUN = RunRecord(
    verb="matrix",
    kvmabi="0",
    started="2026-01-02T03:04:05+00:00",
    host={"kernel_release": "6.1.0", "back_end": "kvm_amd"},
    abi={"version": "7.2", "mask": 0x1F, "mask_source": "BTF"},
    options={},
    planned=2,
)
WRONG = Disagreement("write", 1, "no exit", "an exit")
REPORT = json.dumps(make_report("6.1.0").to_json(), indent=1).encode()


def case(name: str, verdict: Verdict) -> CaseRecord:
    wrong = (WRONG,) if verdict is Verdict.FAIL else ()
    reason = "lost" if verdict in (Verdict.ERROR, Verdict.SKIP) else ""
    return CaseRecord(name, verdict, 0.1, "pio", "4", "match", (1,), reason, wrong)


def result_of(*verdicts: Verdict, lost: bool = False) -> bytes:
    cases = [case(name, one) for name, one in zip("ab", verdicts, strict=False)]
    tally = Tally(2)
    tally.add_all(cases)
    if lost:
        tally.add_problem("the kernel under test was lost after the case a")
    return b"".join(map(to_line, [RUN, *cases, tally.end_record(1.0)]))


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """A folder with the stand-in, kernels by name, and the temporary files."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    (tmp_path / "good").write_bytes(result_of(Verdict.PASS, Verdict.PASS))
    (tmp_path / "bad").write_bytes(result_of(Verdict.PASS, Verdict.FAIL))
    (tmp_path / "lost").write_bytes(result_of(Verdict.FAIL, Verdict.ERROR, lost=True))
    (tmp_path / "skipped").write_bytes(result_of(Verdict.SKIP, Verdict.SKIP))
    for name in ("probed", "other"):
        (tmp_path / name).write_bytes(REPORT)
    (tmp_path / "half").write_bytes(REPORT[: len(REPORT) // 2])
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(child, "command", lambda words: [sys.executable, str(script), *words])
    return tmp_path


def compare(old: str, new: str, *options: str, verb: str = "matrix") -> int:
    return cli.main(["lab", "compare", "--old", old, "--new", new, *options, "--", verb])


@pytest.mark.parametrize(
    ("old", "new", "code", "counts"),
    [
        ("good:0", "good:0", ExitCode.KEPT, "0 regressed, 0 fixed; 2 the same of 2 compared"),
        ("good:0", "bad:1", ExitCode.BROKEN, "1 regressed, 0 fixed; 1 the same of 2 compared"),
        ("bad:1", "good:0", ExitCode.KEPT, "0 regressed, 1 fixed; 1 the same of 2 compared"),
        (
            "good:0",
            "lost:4",
            ExitCode.HARNESS_FAILED,
            "1 regressed, 1 lost, 0 fixed; 0 the same of 2 compared",
        ),
    ],
)
def test_both_run_and_are_compared(place, capfd, old, new, code, counts) -> None:
    assert compare(old, new) == code
    out, err = capfd.readouterr()
    assert out.splitlines()[-1] == f"matrix: {counts}"
    left = list((place / "tmp").iterdir())
    if code is ExitCode.KEPT:
        assert (left, err) == ([], "")
    else:
        assert err == f"kvmabi lab: the results are in {left[0]}\n"
        assert {"old.jsonl", "new.jsonl"} <= {one.name for one in left[0].iterdir()}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("probed:0", "other:0", ExitCode.KEPT),
        ("probed:0", "other:1", ExitCode.BROKEN),
        ("probed:1", "other:1", ExitCode.KEPT),
        ("probed:1", "other:0", ExitCode.KEPT),
        ("probed:0", "other:4", ExitCode.HARNESS_FAILED),
        ("probed:4", "other:0", ExitCode.HARNESS_FAILED),
        ("probed:0", "half:4", ExitCode.HARNESS_FAILED),
        ("half:4", "probed:0", ExitCode.HARNESS_FAILED),
    ],
)
def test_a_report_does_not_tell_how_its_run_ended_but_the_run_does(
    place, capfd, old, new, code
) -> None:
    assert compare(old, new, verb="probe") == code
    err = capfd.readouterr().err
    assert ("the reports alone" in err) == (code is not ExitCode.KEPT)
    assert bool(list((place / "tmp").iterdir())) == (code is not ExitCode.KEPT)


KEPT, BROKEN, USAGE, NOTHING, FAILED = ExitCode


@pytest.mark.parametrize(
    ("old", "new", "compared", "code"),
    [
        (KEPT, KEPT, KEPT, KEPT),
        (KEPT, KEPT, BROKEN, BROKEN),
        (KEPT, KEPT, USAGE, USAGE),
        (KEPT, KEPT, NOTHING, NOTHING),
        (KEPT, BROKEN, NOTHING, BROKEN),
        (FAILED, BROKEN, KEPT, BROKEN),
        (BROKEN, BROKEN, BROKEN, BROKEN),
        (FAILED, KEPT, BROKEN, BROKEN),
        (FAILED, KEPT, NOTHING, FAILED),
        (KEPT, FAILED, BROKEN, FAILED),
        (KEPT, USAGE, KEPT, FAILED),
        (KEPT, -9, KEPT, FAILED),
        (-9, KEPT, KEPT, FAILED),
        (KEPT, NOTHING, KEPT, NOTHING),
        (NOTHING, KEPT, KEPT, NOTHING),
    ],
)
def test_the_worst_of_runs_and_comparison_counts(old, new, compared, code) -> None:
    assert of_both(old, new, compared) == code


def test_results_that_say_nothing_are_kept_too(place, capfd) -> None:
    assert compare("good:0", "skipped:3") == ExitCode.NOTHING_CHECKED
    (left,) = (place / "tmp").iterdir()
    assert (left / "new.jsonl").exists()
    assert capfd.readouterr().err == f"kvmabi lab: the results are in {left}\n"


def test_results_are_kept_where_the_user_says(place, capfd) -> None:
    kept = place / "a" / "b"
    assert compare("good:0", "bad:1", "--keep", str(kept)) == ExitCode.BROKEN
    assert (kept / "new.jsonl").read_bytes() == (place / "bad").read_bytes()
    assert list((place / "tmp").iterdir()) == []
    assert capfd.readouterr().err == ""
    assert compare("good:0", "none:2", "--keep", str(kept)) == ExitCode.USAGE
    assert not (kept / "new.jsonl").exists()


@pytest.mark.usefixtures("place")
def test_the_json_is_the_comparisons(capfd) -> None:
    assert compare("good:0", "bad:1", "--json", "-") == ExitCode.BROKEN
    out, err = capfd.readouterr()
    assert json.loads(out)["counts"]["regressed"] == 1
    assert "1 regressed" in err


@pytest.mark.parametrize("code", [ExitCode.USAGE, ExitCode.NOTHING_CHECKED])
@pytest.mark.parametrize("turned", [False, True])
def test_a_kernel_that_cannot_run_ends_both(place, capfd, code: int, turned: bool) -> None:
    kernels = [f"none:{code}", "hang:0"]
    assert compare(*(reversed(kernels) if turned else kernels)) == code
    out, err = capfd.readouterr()
    side = "new" if turned else "old"
    assert out == ""
    assert err == f"{side} (none:{code}): kvmabi lab: none: no such kernel\n"
    assert not is_alive(place / "hang.pid")
    assert list((place / "tmp").iterdir()) == []


@pytest.mark.usefixtures("place")
def test_a_run_that_is_killed_without_a_result_is_the_harness(capfd) -> None:
    assert compare("good:0", "none:4") == ExitCode.HARNESS_FAILED
    assert "none: no such kernel" in capfd.readouterr().err


def is_alive(pid_file: Path) -> bool:
    """Whether the process runs; one that has ended may wait for ever to be reaped by another."""
    try:
        return ") Z " not in Path(f"/proc/{int(pid_file.read_text())}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_no_run_outlives_the_command(place: Path, by: signal.Signals) -> None:
    code = WITH_STAND_IN.format(script=str(place / "stand_in.py"))
    words = ["lab", "compare", "--old", "hang:0", "--new", "hang:0", "--", "matrix"]
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as ours:
        assert wait_for(lambda: is_alive(place / "hang.pid"))
        os.kill(ours.pid, by)
        _, err = ours.communicate(timeout=60)
    assert ours.returncode == (130 if by is signal.SIGINT else -by)
    assert wait_for(lambda: not is_alive(place / "hang.pid"))
    if by is signal.SIGINT:
        assert err == "kvmabi lab: interrupted\n"
        assert list((place / "tmp").iterdir()) == []


def wait_for(what) -> bool:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        try:
            if what():
                return True
        except ValueError:  # a file that is not written yet
            pass
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which verb"),
        (["bench"], "bench gives nothing to compare: matrix and probe do"),
        (["matrix", "--list"], "with --list"),
        (["matrix", "--repro=x"], "with --repro"),
        (["probe", "--json", "x"], "--json before"),
        (["matrix", "--resume", "x"], "--resume"),
        (["lab", "run"], "lab inside a lab"),
    ],
)
def test_words_that_leave_nothing_to_compare_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        refuse_what_gives_no_result(words)


def test_a_folder_that_cannot_be_made_is_told_before_anything_runs(place, capfd) -> None:
    assert compare("good:0", "bad:1", "--keep", str(place / "good" / "x")) == ExitCode.USAGE
    assert "--keep" in capfd.readouterr().err
    assert not (place / "good.pid").exists()


def test_a_folder_that_takes_no_file_is_told_before_anything_runs(place, capfd) -> None:
    assert compare("good:0", "bad:1", "--keep", "/proc") == ExitCode.USAGE
    assert capfd.readouterr().err.startswith("kvmabi lab: cannot write /proc/old.")
    assert not (place / "good.pid").exists()


@pytest.mark.parametrize("name", ["", "no/such/folder"])
def test_json_that_cannot_be_written_is_told_before_anything_runs(place, capfd, name) -> None:
    assert compare("good:0", "bad:1", "--json", str(place / name)) == ExitCode.USAGE
    assert capfd.readouterr().err.startswith(f"kvmabi lab: --json {place / name}: ")
    assert not (place / "good.pid").exists()


def test_a_file_for_json_stays_as_it_is_until_there_is_something_to_write(place) -> None:
    old, new = place / "old.json", place / "new.json"
    old.write_text("before")
    for path in (old, new):
        assert compare("good:0", "none:3", "--json", str(path)) == ExitCode.NOTHING_CHECKED
    assert old.read_text() == "before"
    assert not new.exists()


def test_each_side_has_its_own_kernel_back_end_and_files(tmp_path: Path) -> None:
    words = ["--old", "k1", "--new", "k2", "--new-backend", "svm-shadow", "--new-modules", "m"]
    line = [
        "lab",
        "compare",
        *words,
        "--fresh",
        "--deadline",
        "60",
        "--",
        "probe",
        "--only",
        "caps",
    ]
    args = verbs.make_parser("lab").parse_args(line)
    old, new = (make_side(name, args, tmp_path).task.words for name in ("old", "new"))
    assert " ".join(old) == (
        "lab run --kernel k1 --backend svm --deadline 60.0 --fresh "
        f"--log {tmp_path}/old.console -- probe --only caps --json {tmp_path}/old.jsonl"
    )
    assert " ".join(new).startswith("lab run --kernel k2 --backend svm-shadow --modules m ")


class Fake:
    """A run that ends after so many looks at it."""

    running = 0
    most = 0

    def __init__(self, task: Task) -> None:
        self.left, self.code = (int(word) for word in task.words)

    def poll(self) -> int | None:
        self.left -= 1
        return self.code if self.left < 0 else None

    def __enter__(self) -> Self:
        Fake.running += 1
        Fake.most = max(Fake.most, Fake.running)
        return self

    def __exit__(self, *_: object) -> None:
        Fake.running -= 1


@pytest.fixture
def sides(tmp_path: Path, monkeypatch) -> list[Side]:
    monkeypatch.setattr("kvmabi.lab.pair.TICK_S", 0.0)
    monkeypatch.setattr(Fake, "most", 0)
    made = []
    for name, words in (("old", ("3", "0")), ("new", ("1", "1"))):
        (tmp_path / name).write_bytes(b"{}\n")
        task = Task(name, words, tmp_path / "out", tmp_path / "err")
        made.append(Side("k", task, tmp_path / name))
    return made


@pytest.mark.parametrize("at_once", [1, 2])
def test_as_many_runs_at_once_as_there_are_cpus(sides, at_once: int) -> None:
    looks = []
    start = Fake
    codes = play(sides, at_once=at_once, watch=lambda: looks.append(1), start=start)  # type: ignore[arg-type]
    assert codes == {"old": 0, "new": 1}
    assert Fake.running == 0
    assert looks


def test_a_run_that_left_nothing_ends_the_other(sides) -> None:
    sides[1].result.unlink()
    assert play(sides, at_once=2, start=Fake) == {"new": 1}  # type: ignore[arg-type]
    assert Fake.running == 0


def test_a_result_is_followed_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "result"
    follower = Follower(path)
    follower.look()
    assert follower.tally is None
    data = result_of(Verdict.PASS, Verdict.FAIL)
    path.write_bytes(data[:-300])
    follower.look()
    path.write_bytes(data)
    follower.look()
    assert follower.tally is not None
    assert follower.tally.verdicts == {Verdict.PASS: 1, Verdict.FAIL: 1}


def test_what_is_no_record_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "report").write_text('{\n "type": "probe"\n}\n')
    follower = Follower(tmp_path / "report")
    follower.look()
    assert follower.tally is None


def drawn(sides: list[Side], *, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=terminal, color_system=None)
    with PairProgress(sides, console=console) as progress:
        progress.refresh()
    return out.getvalue()


def test_progress_is_one_line_each_and_only_on_a_terminal(sides, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    sides[1].result.write_bytes(result_of(Verdict.PASS, Verdict.FAIL))
    assert drawn(sides, terminal=False) == ""
    text = drawn(sides, terminal=True)
    assert "starting" in text
    assert "2/2" in text
    assert "1 pass  1 fail" in text


def test_a_child_finds_this_kvmabi_and_says_where_it_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kvmabi").mkdir()
    (tmp_path / "kvmabi" / "__init__.py").write_text("raise SystemExit(99)\n")
    task = Task("x", ("no-such-verb",), tmp_path / "out", tmp_path / "err")
    with Child(task) as run:
        assert wait_for(lambda: run.poll() is not None)
    assert run.poll() == ExitCode.USAGE
    assert "usage: kvmabi" in task.said
