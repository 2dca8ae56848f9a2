from __future__ import annotations

import argparse
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kvmabi import __version__, cli, verbs
from kvmabi.errors import ExitCode, HeaderError, IoctlError, KvmUnavailable, UsageError


@pytest.fixture
def verb(monkeypatch):
    """Makes the verb `matrix` do what is given, in place of its module."""

    def install(run) -> None:
        def add_arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("--jobs", type=int, default=1)

        module = SimpleNamespace(add_arguments=add_arguments, run=run)
        monkeypatch.setattr(verbs, "load", lambda _name: module)

    return install


def raising(error: BaseException):
    def run(_args: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize("code", list(ExitCode))
def test_the_verbs_exit_code_is_the_commands(verb, code: ExitCode) -> None:
    verb(lambda _args: code)
    assert cli.main(["matrix"]) == code


def test_a_verb_gets_its_own_arguments(verb) -> None:
    verb(lambda args: args.jobs)
    assert cli.main(["matrix", "--jobs", "3"]) == 3


def test_without_a_verb_help_comes_and_exit_2(capsys) -> None:
    assert cli.main([]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "exit codes:" in err
    for one in verbs.VERBS:
        assert f"{one.name}  " in err


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["--nothing"], ["matrix", "--nothing"], ["matrix", "--jobs", "x"]]
)
def test_bad_usage_is_exit_2(verb, arguments: list[str], capsys) -> None:
    verb(lambda _args: 0)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(arguments)
    assert exit_info.value.code == ExitCode.USAGE
    assert "usage: kvmabi" in capsys.readouterr().err


def test_an_abbreviated_option_is_bad_usage(verb) -> None:
    verb(lambda _args: 0)
    with pytest.raises(SystemExit):
        cli.main(["matrix", "--job", "3"])


def test_the_version(capsys) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"kvmabi {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KvmUnavailable("no /dev/kvm: modprobe kvm"), ExitCode.NOTHING_CHECKED),
        (UsageError("no such case"), ExitCode.USAGE),
        (IoctlError(22, "KVM_CREATE_VM", "system"), ExitCode.HARNESS_FAILED),
        (HeaderError("odd", file="kvm.h", line=3), ExitCode.USAGE),
    ],
)
def test_an_expected_error_is_one_line_and_its_exit_code(verb, capsys, error, code) -> None:
    verb(raising(error))
    assert cli.main(["matrix"]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"kvmabi matrix: {error}\n")


def test_a_bug_is_never_exit_1(verb, capsys) -> None:
    verb(raising(ZeroDivisionError("oops")))
    assert cli.main(["matrix"]) == ExitCode.HARNESS_FAILED
    err = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in err
    assert err.endswith(
        "kvmabi matrix: this is a bug in kvmabi, and says nothing about the kernel\n"
    )


def test_ctrl_c_is_exit_130_and_one_line(verb, capsys) -> None:
    verb(raising(KeyboardInterrupt()))
    assert cli.main(["matrix"]) == 130
    assert capsys.readouterr().err == "kvmabi matrix: interrupted\n"


def test_a_verb_that_cannot_be_imported_is_the_harness(monkeypatch, capsys) -> None:
    monkeypatch.setattr(verbs, "VERBS", (verbs.Verb("lost", "kvmabi.no_such_module", "x"),))
    assert cli.main(["lost"]) == ExitCode.HARNESS_FAILED
    assert "ModuleNotFoundError" in capsys.readouterr().err


PRINTS = """
import os
import sys
from types import SimpleNamespace
from kvmabi import cli, verbs

def run(args):
    sys.stdin.read()
    for _ in range(int(sys.argv[1])):
        sys.stdout.write("a line of output\\n")
    os.write(1, sys.argv[2].encode())
    return 0

verbs.load = lambda name: SimpleNamespace(add_arguments=lambda parser: None, run=run)
sys.exit(cli.main(["matrix"]))
"""


@pytest.mark.parametrize(("lines", "record"), [(1, ""), (100_000, ""), (1, "a record")])
def test_a_reader_that_goes_away_is_no_noise(lines: int, record: str) -> None:
    """Few lines fail at the last flush, many when written; a record leaves a line unflushed."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PRINTS, str(lines), record]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=buffered) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        child.stdin.close()
        noise = child.stderr.read()
    assert (child.returncode, noise) == (128 + 13, b"")


WRITES = """
import sys
from types import SimpleNamespace
from kvmabi import cli, verbs
from kvmabi.errors import UsageError

def run(args):
    sys.stdout.write("a line of output\\n" * int(sys.argv[1]))
    if sys.argv[2] == "error":
        raise UsageError("oops")
    if sys.argv[2] == "interrupt":
        raise KeyboardInterrupt
    return 0

verbs.load = lambda name: SimpleNamespace(add_arguments=lambda parser: None, run=run)
sys.exit(cli.main(sys.argv[3:] or ["matrix"]))
"""


def redirected(
    redirections: str, *arguments: str, env: str = "PYTHONUNBUFFERED="
) -> subprocess.CompletedProcess:
    script = f'{env} exec "$@" {redirections}'
    command = ["sh", "-c", script, "sh", sys.executable, "-c", WRITES, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_ctrl_c_in_generated_code_is_exit_130_too(tmp_path) -> None:
    """Python itself would end by the signal, once exec() of a text was interrupted."""
    text = "exec('import os, signal; os.kill(os.getpid(), signal.SIGINT)')\n"
    (tmp_path / "argparse.py").write_text(text)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "kvmabi", "matrix"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stderr) == (130, "kvmabi: interrupted\n")


@pytest.mark.parametrize("redirections", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("how", "code"), [("", 0), ("error", 2), ("interrupt", 130)])
def test_closed_streams_change_no_exit_code(redirections: str, how: str, code: int) -> None:
    done = redirected(redirections, "1", how)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("env", ["PYTHONUNBUFFERED=", "PYTHONUNBUFFERED=1"])
@pytest.mark.parametrize("lines", ["1", "100000"])
@pytest.mark.parametrize("redirections", [">/dev/full", ">/dev/full 2>/dev/full"])
def test_output_that_cannot_be_written_is_the_harness(
    redirections: str, lines: str, env: str
) -> None:
    done = redirected(redirections, lines, "", env=env)
    assert done.returncode == ExitCode.HARNESS_FAILED
    said = "kvmabi matrix: cannot write the output: No space left on device\n"
    assert done.stderr == ("" if "2>" in redirections else said)


@pytest.mark.parametrize(("how", "code"), [("error", 2), ("interrupt", 130)])
@pytest.mark.parametrize("redirections", [">/dev/full", "2>/dev/full"])
def test_what_happened_before_counts_more(redirections: str, how: str, code: int) -> None:
    done = redirected(redirections, "1", how)
    assert done.returncode == code
    assert done.stderr.count("\n") == ("2>" not in redirections)


def test_help_that_cannot_be_written_is_the_harness() -> None:
    assert redirected(">/dev/full", "1", "", "--help").returncode == ExitCode.HARNESS_FAILED


def test_ctrl_c_while_modules_load_is_exit_130_and_one_line(tmp_path) -> None:
    """A module that sends SIGINT stands in for the first that kvmabi.cli imports."""
    (tmp_path / "argparse.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "kvmabi", "matrix"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stderr) == (130, "kvmabi: interrupted\n")


def test_the_module_and_main_verb_are_the_command(monkeypatch, verb) -> None:
    verb(lambda args: args.jobs)
    monkeypatch.setattr(sys, "argv", ["kvmabi/matrix.py", "--jobs", "2"])
    assert cli.main_verb("matrix") == 2
    done = subprocess.run(
        [sys.executable, "-m", "kvmabi", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"kvmabi {__version__}\n"


def test_only_the_chosen_verb_is_imported() -> None:
    code = "import sys, kvmabi.cli; kvmabi.cli.main([]); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "kvmabi.cli" in imported
    assert not {"kvmabi.matrix", "rich"} & set(imported)
