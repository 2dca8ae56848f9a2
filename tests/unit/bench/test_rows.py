"""The bench's rows: what the guest sends, what makes a row void, and how all is shown."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kvmabi.benching import plot, report
from kvmabi.benching.extra import NTH, WIDTHS, extra_rows
from kvmabi.benching.rows import (
    OVERHEAD,
    SERIES_2013,
    Measured,
    Row,
    check_count,
    in_order,
    merge,
    parse,
)
from kvmabi.benching.run import Bench, to_json, why_emulated
from kvmabi.benching.turns import DEADLINE_S, OURS, QEMU, Plan
from kvmabi.errors import GuestError, ToolMissing, UsageError
from kvmabi.kvm import Host

LINE = "mmio-no-eventfd:pci-mem 300 made=110 min=90 p25=200 p75=400 p99=500 max=900 mean=333"
HOST = Host("6.99", "#1", "x86_64", "kvm_intel", "kvm", "A CPU", False, 2)


def measured(name: str = "x", median: int = 300, made: int = 110, **more) -> Measured:
    return Measured(name, median, made, 90, 200, 400, 500, 900, 333, **more)


def test_rows_are_read_with_and_without_a_count() -> None:
    rows = parse(f"{LINE}\r\n{LINE} count=110\r\nend\r\n")
    assert rows[0] == measured("mmio-no-eventfd:pci-mem")
    assert rows[1].count == 110


@pytest.mark.parametrize(
    "text",
    ["", "end!", LINE, f"{LINE} \nmore", f"{LINE} count=\nend", "a b c\nend", "a 1 made=1\nend"],
)
def test_what_is_no_end_or_no_row_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(GuestError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "count", "counts_signals", "void"),
    [
        ("mmio-no-eventfd:pci-mem", 110, True, False),
        ("mmio-no-eventfd:pci-mem", 109, True, True),
        ("mmio-no-eventfd:pci-mem", 109, False, True),
        ("mmio-wildcard-eventfd:pci-mem", 110, True, False),
        ("mmio-wildcard-eventfd:pci-mem", 111, True, True),
        ("mmio-wildcard-eventfd:pci-mem", 0, True, True),
        ("mmio-wildcard-eventfd:pci-mem", 0, False, False),  # QEMU's device counts no signals
        ("mmio-wildcard-eventfd:pci-mem", 1, False, True),  # but this one has exited
        ("cpuid", None, True, False),
    ],
)
def test_a_row_counts_only_if_every_write_was_counted_once(
    name: str, count: int | None, counts_signals: bool, void: bool
) -> None:
    said = check_count(measured(name, count=count), counts_signals=counts_signals)
    assert bool(said) is void


@pytest.mark.parametrize(
    ("name", "exits", "signals", "void"),
    [
        ("mmio-no-eventfd:pci-mem", 110, 0, ""),
        ("mmio-no-eventfd:pci-mem", 109, 1, "1 of 110 writes signalled an eventfd"),
        ("mmio-wildcard-eventfd:pci-mem", 0, 110, ""),
        ("mmio-wildcard-eventfd:pci-mem", 1, 109, "1 of 110 writes exited past the eventfd"),
        ("mmio-any-length-w1", 110, 0, "110 of 110 writes exited past the eventfd"),
    ],
)
def test_a_write_that_came_the_wrong_way_is_no_write_that_was_counted(
    name: str, exits: int, signals: int, void: str
) -> None:
    one = measured(name, count=110, exits=exits, signals=signals)
    assert check_count(one, counts_signals=True) == void


def test_a_round_that_is_void_voids_the_row() -> None:
    rows: dict[str, Row] = {}
    name = "mmio-no-eventfd:pci-mem"
    for count in (110, 100, 110):
        merge(rows, [measured(name, count=count)], counts_signals=True)
    assert "100 of 110 counted" in rows[name].void


def test_cycles_are_those_of_the_quietest_round_without_what_measuring_takes() -> None:
    rows: dict[str, Row] = {}
    for median, overhead in ((300, 100), (500, 100), (400, 50)):
        pair = [measured(OVERHEAD, overhead), measured("cpuid", median)]
        merge(rows, pair, counts_signals=True)
    assert rows["cpuid"].cycles() == 300 - 50
    assert rows["cpuid"].cycles("p99") == 500 - 50
    assert rows["cpuid"].spread == 0.5
    assert rows["cpuid"].noisy
    assert rows[OVERHEAD].cycles() == 0
    assert in_order([rows]) == ["cpuid", OVERHEAD]


def test_rounds_that_agree_are_not_noisy() -> None:
    row = Row("cpuid")
    row.rounds.append(measured(median=1000))
    assert not row.noisy
    row.rounds.append(measured(median=1400))
    assert row.noisy
    row.rounds.append(measured(median=1040))
    assert not row.noisy  # one disturbed round of three is nothing to doubt the figure for
    row.overhead = 1000
    assert row.noisy


def bench(*, against: bool = True) -> Bench:
    ours: dict[str, Row] = {"vmcall": Row("vmcall", skipped="no return")}
    theirs: dict[str, Row] = {}
    names = [name for name in SERIES_2013 if name not in ("vmcall", "outl_to_kernel")]
    for at, name in enumerate(names, 1):
        count = 110
        pair = [measured(OVERHEAD, 100), measured(name, 100 + 1000 * at, count=count)]
        merge(ours, pair, counts_signals=True)
        if against and "pv" not in name:
            merge(
                theirs,
                [replace(pair[0]), replace(pair[1], median=100 + 2000 * at, count=None)],
                counts_signals=False,
            )
    ours["mmio-pv-eventfd:pci-mem"].how = "any-length"
    sides = {OURS: ours} | ({QEMU: theirs} if against else {})
    version = "QEMU emulator version 1" if against else ""
    return Bench(HOST, 2_000_000, Plan(1, 100, 10, against, False), (0.5, 0.6), version, sides)


def test_the_plain_table_is_names_and_cycles_in_the_series_form() -> None:
    lines = report.plain(bench()).splitlines()
    assert lines[0] == "vmcall (skipped)"
    assert lines[1] == "mmio-no-eventfd:pci-mem 1000"
    assert all(len(line.split()) == 2 for line in lines)
    assert not any(OVERHEAD in line for line in lines)
    assert "pv-eventfd rows are registered as any-length" in report.where(bench())


def printed(one: Bench) -> str:
    out = io.StringIO()
    report.print_report(Console(file=out, width=120), one)
    return out.getvalue()


def test_the_table_has_ratios_the_year_2013_and_where_it_ran() -> None:
    text = printed(bench())
    row = next(line for line in text.splitlines() if line.startswith("mmio-no-eventfd"))
    assert row.split()[:3] == ["mmio-no-eventfd:pci-mem", "1,000", "500"]
    assert "0.500" in row
    assert "9,075" in row
    for word in ("6.99", "kvm_intel", "2.000 GHz", "any-length", "no return", "QEMU emulator"):
        assert word in text
    assert "…" not in text
    assert "WARNING" not in text
    assert "VOID" not in text


def test_void_noisy_and_emulated_runs_say_so() -> None:
    one = bench(against=False)
    row = one.sides[OURS]["mmio-no-eventfd:pci-mem"]
    row.void = "lost"
    row.rounds.append(measured(row.name, 9000))
    one.emulated = "QEMU TCG CPU version 2.5+"
    row.rounds[0] = replace(row.rounds[0], exits=108, signals=2)
    one.load = (9.0, 9.0)
    text = printed(one)
    assert one.void == [row.name]
    assert "VOID" in text
    assert "NOISY: in 1 of" in text
    assert "load was above" in text
    assert "WARNING: this kernel runs in an emulator (QEMU TCG" in text
    line = next(line for line in text.splitlines() if line.startswith(row.name))
    assert line.split()[5:7] == ["108", "2"]


@pytest.mark.parametrize(("share", "text"), [(0, ""), (1, "█" * 12), (0.5, "█" * 6), (2, "█" * 12)])
def test_bars(share: float, text: str) -> None:
    assert report.bar(share) == text


def test_json_holds_rounds_ratios_and_the_host() -> None:
    body = json.loads(json.dumps(to_json(bench())))
    row = body["sides"][OURS]["mmio-no-eventfd:pci-mem"]
    assert row["cycles"] == 1000
    assert row["ns"] == 500
    assert row["ratio_to_qemu"] == 0.5
    assert row["rounds"][0]["count"] == 110
    assert body["sides"][OURS]["vmcall"] == {"skipped": "no return"}
    assert body["host"]["back_end"] == "kvm_intel"


@pytest.mark.parametrize("against", [True, False])
def test_the_picture_has_a_bar_for_each_kind_side_and_year(tmp_path: Path, against: bool) -> None:
    path = tmp_path / "bench.svg"
    plot.write_plot(path, bench(against=against))
    tree = ET.parse(path)  # noqa: S314 - a file of our own
    fills = [one.get("fill") for one in tree.iter("{http://www.w3.org/2000/svg}rect")]
    bars = {side: fills.count(colour) - 1 for side, colour in plot.COLOURS.items()}
    assert bars == {OURS: 8, QEMU: 6 if against else -1, "2013": 8}
    heights = [
        float(one.get("height", "0")) + float(one.get("y", "0"))
        for one in tree.iter("{http://www.w3.org/2000/svg}rect")
        if one.get("fill") == plot.COLOURS[OURS]
    ]
    ground = pytest.approx(plot.HEIGHT - plot.BOTTOM, abs=0.2)
    assert heights[1:] == [ground] * 8  # behind the legend's


def test_a_picture_that_cannot_be_is_refused_before_anything_runs(monkeypatch) -> None:
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        plot.check_plot(Path("x.gif"))
    monkeypatch.setattr(plot.shutil, "which", {}.get)
    with pytest.raises(ToolMissing, match="librsvg2-bin"):
        plot.check_plot(Path("x.png"))
    plot.check_plot(Path("x.svg"))


@pytest.mark.parametrize(
    ("model", "vendor", "emulated"),
    [("A CPU", "A board", ""), ("QEMU TCG CPU version 2.5+", "", "TCG"), ("A", "Bochs", "Bochs")],
)
def test_an_emulated_kernel_is_told_by_cpu_or_firmware(
    tmp_path: Path, model: str, vendor: str, emulated: str
) -> None:
    dmi = tmp_path / "sys/class/dmi/id"
    dmi.mkdir(parents=True)
    (dmi / "bios_vendor").write_text(vendor + "\n")
    assert emulated in why_emulated(replace(HOST, cpu_model=model), tmp_path)
    assert bool(why_emulated(replace(HOST, cpu_model=model), tmp_path)) is bool(emulated)


def test_extra_rows_are_told_apart_and_never_straddle_a_page() -> None:
    rows = extra_rows()
    assert len({row.name for row in rows}) == len(rows)
    assert len({row.word for row in rows}) == len(rows)
    for row in rows:
        assert row.width in WIDTHS[row.bus]
        assert row.address % row.width == 0
        assert row.data < 1 << 8 * row.width
        assert row.bus == "mmio" or row.address + row.width <= 0xC000
    assert [row.nth for row in rows if row.nth] == list(NTH)
    assert rows[-len(NTH) :] == [row for row in rows if row.nth]


def test_the_deadline_grows_with_what_is_asked_for() -> None:
    assert Plan(1, 1, 1, False, False).deadline_s == DEADLINE_S
    assert Plan(1, 65_000, 1_000, False, False).deadline_s == 66 * DEADLINE_S
