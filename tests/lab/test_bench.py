"""The bench in an emulated kernel: it says that its figures mean nothing, and its counts do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode

pytestmark = pytest.mark.lab

SMALL = ("--rounds", "1", "--samples", "20", "--warmup", "5")
MADE = 25


def test_every_row_is_counted_exactly_and_called_no_figure_of_hardware(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    words = ("lab", "run", "--kernel", "debian:6.1", "--", "bench", *SMALL, "--json", str(out))
    done = subprocess.run(
        [sys.executable, "-m", "kvmabi", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == ExitCode.KEPT, done.stderr
    assert "WARNING: this kernel runs in an emulator" in done.stdout
    body = json.loads(out.read_text("utf-8"))
    assert body["host"]["back_end"] == "kvm_amd"
    rows = body["sides"]["kvmabi"]
    counted = {
        name: (row["rounds"][0]["exits"], row["rounds"][0]["signals"])
        for name, row in rows.items()
        if row.get("rounds") and row["rounds"][0]["exits"] is not None and "2cpus" not in name
    }
    assert len(counted) > 40
    for name, seen in counted.items():
        assert seen == ((MADE, 0) if "no-eventfd" in name else (0, MADE)), name
    assert rows["mmio-pv-eventfd:pci-mem"]["how"] == "any-length"  # Debian's has no PV_MMIO
