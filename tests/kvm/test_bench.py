"""The bench on the real KVM: every row is there, and every write was counted once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from kvmabi import bench, cli
from kvmabi.benching import extra, machine
from kvmabi.benching.cloop import ROWS as C_ROWS
from kvmabi.benching.cloop import make_c_loop
from kvmabi.benching.rows import OVERHEAD, SERIES_2013, check_count
from kvmabi.benching.turns import DEADLINE_S, Plan
from kvmabi.errors import GuestError
from kvmabi.kvm import System
from kvmabi.vmm import testdev

pytestmark = pytest.mark.kvm

TESTDEV = [name for name in SERIES_2013 if ":pci-" in name]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System.open() as opened:
        yield opened


def words(*names: str, samples: int = 40) -> str:
    return Plan(1, samples, 10, against_qemu=False, extra=False).words(*names)


def test_every_row_of_the_series_is_measured_and_every_write_counted(system) -> None:
    how: dict[str, str] = {}
    names = (OVERHEAD, "cpuid", "inl_from_pmtimer", "outl_to_kernel", "pci-mem", "pci-io")
    rows = machine.run_standard(system, words(*names), how, DEADLINE_S)
    assert [row.name for row in rows] == [*names[:4], *TESTDEV]
    for row in rows[4:]:
        assert row.made == row.count == 50
        assert 0 < row.least <= row.p25 <= row.median <= row.p75 <= row.p99 <= row.most
        assert (row.exits, row.signals) == ((50, 0) if "no-eventfd" in row.name else (0, 50))
        assert not check_count(row, counts_signals=True)
    assert set(how) == {"mmio-pv-eventfd:pci-mem", "portio-pv-eventfd:pci-io"}
    assert set(how.values()) <= {"any-length", "pv-mmio"}


def test_extra_rows_count_what_was_written(system) -> None:
    rows = [row for row in extra.extra_rows() if row.nth <= 10]
    found = machine.run_extra(system, "samples=20 warmup=5 nothing", rows, DEADLINE_S)
    assert [one.name for one in found] == [OVERHEAD, *(row.name for row in rows)]
    for one, row in zip(found[1:], rows, strict=True):
        assert one.count == one.made
        assert one.made == 25 if row.cpus == 1 else one.made > 25


def test_a_signal_too_many_is_seen(system, monkeypatch) -> None:
    real = extra.os.eventfd_read
    monkeypatch.setattr(extra.os, "eventfd_read", lambda fd: real(fd) + 1)
    rows = [row for row in extra.extra_rows() if row.name == "mmio-wildcard-eventfd-w4"]
    _, one = machine.run_extra(system, "samples=20 warmup=5 nothing", rows, DEADLINE_S)
    assert "26 of 25 counted" in check_count(one, counts_signals=True)


@pytest.fixture
def misplaced(monkeypatch) -> None:
    """Has every ioeventfd registered 64 bytes behind where it is wanted."""
    assign = extra.KvmRegistrar.assign

    def elsewhere(self, bus, address, doorbell):
        return assign(self, bus, address + 64, doorbell)

    monkeypatch.setattr(extra.KvmRegistrar, "assign", elsewhere)


@pytest.mark.usefixtures("misplaced")
def test_a_write_that_exits_past_its_eventfd_is_seen(system) -> None:
    rows = [row for row in extra.extra_rows() if row.name == "portio-wildcard-eventfd-w1"]
    _, one = machine.run_extra(system, "samples=20 warmup=5 nothing", rows, DEADLINE_S)
    assert "25 of 25 writes exited past the eventfd" in check_count(one, counts_signals=True)


@pytest.mark.usefixtures("misplaced")
def test_the_series_rows_are_void_where_the_writes_exit(system) -> None:
    rows = machine.run_standard(system, words("pci-mem"), {}, DEADLINE_S)
    void = {one.name for one in rows if check_count(one, counts_signals=True)}
    assert void == {name for name in TESTDEV if "mem" in name and "no-" not in name}


def test_a_lost_write_voids_the_row_and_fails_the_verb(monkeypatch, capfd) -> None:
    real = testdev.Hits.count.fget
    monkeypatch.setattr(testdev.Hits, "count", property(lambda hits: max(0, real(hits) - 1)))
    small = ["--rounds", "1", "--samples", "20", "--warmup", "5", "--series", "--plain"]
    assert cli.main(["bench", *small]) == 1
    out, notes = capfd.readouterr()
    assert re.search(r"^mmio-no-eventfd:pci-mem \d+ \(void\)$", out, re.MULTILINE)
    assert "mmio-no-eventfd:pci-mem is void: 25 writes were made, and 24 of 25 counted" in notes


def test_the_c_loop_counts_what_the_device_does_not_see(system) -> None:
    made = make_c_loop()
    if made is None:
        pytest.skip("no C compiler is here")
    loop, counts = made
    rows = machine.run_standard(system, words("pci-mem", "pci-io"), {}, DEADLINE_S, loop)
    by_name = {row.name: row for row in rows}
    assert counts() == (50, 50)
    assert [by_name[name].count for name in C_ROWS] == [0, 0]
    assert by_name["mmio-wildcard-eventfd:pci-mem"].count == 50


def test_a_guest_without_its_end_is_an_error(system, monkeypatch) -> None:
    def ends_at_once(*_: object) -> int:
        return 1

    monkeypatch.setattr(machine.PcMachine, "run", ends_at_once)
    with pytest.raises(GuestError, match="did not come to its end"):
        machine.run_standard(system, words("cpuid"), {}, DEADLINE_S)


@pytest.mark.parametrize(
    "more",
    [
        ["--plot", "x.gif"],
        ["--plot", "no-such-folder/x.svg"],
        ["--json", "no-such-folder/x"],
    ],
)
def test_a_file_that_cannot_be_is_refused_before_anything_runs(
    monkeypatch, capfd, more: list[str]
) -> None:
    monkeypatch.setattr(bench, "run_bench", None)
    assert cli.main(["bench", *more]) == 2
    assert capfd.readouterr().err.startswith("kvmabi bench: ")


@pytest.mark.parametrize("more", [["--rounds", "0"], ["--samples", "65537"], ["--warmup", "some"]])
def test_a_number_that_cannot_be_is_refused(capfd, more: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["bench", *more])
    assert exit_.value.code == 2
    assert "must be a number from 1 to" in capfd.readouterr().err


def test_the_verb_prints_the_series_form_and_writes_json_and_a_picture(tmp_path, capfd) -> None:
    out, picture = tmp_path / "bench.json", tmp_path / "bench.svg"
    small = ["--rounds", "1", "--samples", "20", "--warmup", "5", "--series", "--plain"]
    assert cli.main(["bench", *small, "--json", str(out), "--plot", str(picture)]) == 0
    text, notes = capfd.readouterr()
    names = [line.split()[0] for line in text.splitlines()]
    assert names == ["vmcall", "cpuid", "inl_from_pmtimer", "outl_to_kernel", *TESTDEV]
    assert "TSC" in notes
    body = json.loads(out.read_text())
    assert body["tsc_khz"] > 0
    assert not any(row.get("void") for row in body["sides"]["kvmabi"].values())
    assert picture.read_text().startswith("<svg")
