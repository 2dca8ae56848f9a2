"""`make run` keeps the record of the run before, and names no result where the user does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]

FAKE_KVMABI = """#!/bin/sh
echo "$@"
while [ $# -gt 0 ]; do [ "$1" = --json ] && echo "a record of $MARK" >"$2"; shift; done
exit 4
"""


@pytest.fixture
def make_run(tmp_path: Path):
    """Runs `make run` with a kvmabi that only writes a line, and returns what it was told."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shutil.copy(TOP / "Makefile", tmp_path)
    for name, script in (("bin/kvmabi", FAKE_KVMABI), ("tools/setup.sh", "#!/bin/sh\n")):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(script)
        path.chmod(0o755)

    def run(arguments: str = "", mark: str = "") -> str:
        command = ["make", "-s", "run", "VENV=.", "KVM=/dev/null", f"ARGS={arguments}"]
        env = {"PATH": "/usr/bin:/bin", "MARK": mark}
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, env=env
        )
        return done.stdout.strip()

    return run


def test_the_record_of_the_run_before_is_kept(make_run, tmp_path: Path) -> None:
    for mark in ("one", "two", "three"):
        assert make_run("--jobs 3", mark) == "matrix --json .results/matrix.jsonl --jobs 3"
    results = tmp_path / ".results"
    assert (results / "matrix.jsonl").read_text() == "a record of three\n"
    assert (results / "matrix.jsonl.previous").read_text() == "a record of two\n"


@pytest.mark.parametrize(
    "arguments", ["--json=x", "--resume .results/matrix.jsonl", "--repro x", "--list", "--help"]
)
def test_a_run_with_no_record_of_its_own_moves_none(make_run, tmp_path: Path, arguments) -> None:
    make_run(mark="one")
    assert make_run(arguments, "two") == f"matrix {arguments}"
    assert [path.name for path in (tmp_path / ".results").iterdir()] == ["matrix.jsonl"]
