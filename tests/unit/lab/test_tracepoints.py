from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest

from kvmabi.errors import ExitCode
from kvmabi.lab.collector import Collector, Terms
from kvmabi.lab.commands.run import tracepoint
from kvmabi.lab.frames import Frame, Kind
from kvmabi.lab.inside.port import Trouble
from kvmabi.lab.inside.tracepoints import ATTRIBUTE, Counters, event_id


@pytest.fixture
def tracefs(tmp_path: Path) -> Path:
    folder = tmp_path / "events/kvm/kvm_exit"
    folder.mkdir(parents=True)
    (folder / "id").write_text("1234\n")
    return tmp_path


def test_a_tracepoint_is_known_by_its_number(tracefs: Path) -> None:
    assert event_id("kvm:kvm_exit", tracefs) == 1234


def test_an_unknown_tracepoint_is_told(tracefs: Path) -> None:
    with pytest.raises(Trouble, match="it has no tracepoint kvm:other"):
        event_id("kvm:other", tracefs)


def test_a_kernel_without_tracepoints_is_told(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="CONFIG_EVENT_TRACING"):
        event_id("kvm:kvm_exit", tmp_path)


def test_without_tracepoints_nothing_is_opened(tmp_path: Path) -> None:
    assert Counters((), tmp_path).counts() == {}


def test_the_attribute_is_as_the_kernel_first_published_it() -> None:
    assert ATTRIBUTE.size == 64  # PERF_ATTR_SIZE_VER0


@pytest.mark.parametrize("text", ["", "kvm", "kvm:", ":x", "kvm:x:y", "../kvm:x", "kvm:a/b"])
def test_what_names_no_tracepoint_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        tracepoint(text)
    assert tracepoint("kvm:kvm_exit") == "kvm:kvm_exit"


def test_what_was_counted_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    ended = {"exit": 0, "tainted": 0, "traced": {"kvm:kvm_exit": 110, "kvm:other": 0}}
    with Collector(Terms(None, "", {}, cases=False)) as collector:
        collector.take(Frame(Kind.EXIT, json.dumps(ended).encode()))
        collector.finish()
    assert collector.exit_code == ExitCode.KEPT
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "kvmabi lab: kvm:kvm_exit fired 110 times",
        "kvmabi lab: kvm:other fired 0 times",
    ]


@pytest.mark.skipif(
    not os.access("/sys/kernel/tracing/events", os.R_OK), reason="tracefs is not mounted here"
)
def test_this_kernel_counts_too() -> None:
    try:
        counters = Counters(["syscalls:sys_enter_getpid"])
    except Trouble as error:
        pytest.skip(str(error))
    before = counters.counts()["syscalls:sys_enter_getpid"]
    for _ in range(7):
        os.getpid()
    assert counters.counts()["syscalls:sys_enter_getpid"] - before >= 7
