"""The probe on the running kernel: every section, the absences that can be made, and no trace."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kvmabi import uapi
from kvmabi.ioeventfd.contract import LENGTHS
from kvmabi.kvm import System
from kvmabi.probing.gather import guest_writes, ioeventfd_costs
from kvmabi.probing.report import Report, load_schema
from kvmabi.probing.run import SECTIONS, choose, probe
from kvmabi.probing.schema import violations
from kvmabi.probing.setting import Setting
from kvmabi.probing.show import markdown

pytestmark = pytest.mark.kvm

TOP = Path(__file__).parents[2]
X86 = os.uname().machine == "x86_64"


@pytest.fixture(scope="module")
def report() -> Report:
    return probe()


def closed(schema: Any) -> Any:
    """The schema with every object that names its members closed to others."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    body = {key: closed(value) for key, value in schema.items()}
    if isinstance(body.get("properties"), dict) and "type" in body:
        body.setdefault("additionalProperties", False)
    return body


def test_every_section_is_there_and_none_failed(report: Report) -> None:
    assert list(report.sections) == [kind.name for kind in SECTIONS]
    failed = {name: one.reason for name, one in report.sections.items() if one.status == "failed"}
    assert failed == {}
    assert report.kvm == {"available": True}
    for name in ("substrate", "caps", "limits", "ioeventfd", "devices"):
        assert report.sections[name].status == "ok"


def test_it_fits_the_schema_and_has_no_member_that_the_schema_does_not_describe(
    report: Report,
) -> None:
    strict = closed(load_schema())
    body = json.loads(json.dumps(report.to_json()))
    assert violations(body, strict) == []
    body["sections"]["caps"]["data"]["surprise"] = 1
    assert violations(body, strict)


def test_capabilities_are_what_the_kernel_says(report: Report) -> None:
    rows = {one["name"]: one for one in report.data("caps")["capabilities"]}
    with System.open() as system, system.create_vm() as vm:
        for name in ("KVM_CAP_IOEVENTFD", "KVM_CAP_NR_MEMSLOTS", "KVM_CAP_S390_GMAP"):
            number = getattr(uapi, name)
            assert rows[name]["system"] == system.check_extension(number)
            assert rows[name]["vm"] == vm.check_extension(number)
    named = {one["number"] for one in rows.values()}
    assert not named & {one["number"] for one in report.data("caps")["unknown"]}


def test_a_capability_whose_name_is_not_known_is_reported_by_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kvmabi.probing.gather import caps

    known = caps.constants("KVM_CAP_", Setting())
    names = {key: value for key, value in known.items() if value < 36}
    monkeypatch.setattr(caps, "constants", lambda prefix, _: names if prefix == "KVM_CAP_" else {})
    found = probe(choose(["caps"])).data("caps")
    assert {"number": uapi.KVM_CAP_IOEVENTFD, "system": 1, "vm": 1} in found["unknown"]
    assert found["newest"] < uapi.KVM_CAP_IOEVENTFD


def test_headers_give_the_names_and_btf_the_mask() -> None:
    from kvmabi.abi.sides import read_host_side

    setting = Setting(headers=read_host_side("6.1+pv-mmio"))
    found = probe(choose(["caps", "ioeventfd", "drift"]), setting)
    assert violations(found.to_json(), load_schema()) == []
    assert found.headers == "Linux 6.1.176+pv-mmio"
    named = {one["name"]: one["number"] for one in found.data("caps")["capabilities"]}
    assert named["KVM_CAP_IOEVENTFD"] == uapi.KVM_CAP_IOEVENTFD
    assert "KVM_CAP_MEMORY_FAULT_INFO" not in named  # which came with 6.8
    flags = found.data("ioeventfd")["flags"]
    assert [one["name"] for one in flags][5] == "KVM_IOEVENTFD_FLAG_PV_MMIO"
    mask = found.data("ioeventfd")["mask"]
    if mask["source"] == "BTF" and mask["value"] == 0x1F:
        assert "0x3f in Linux 6.1.176+pv-mmio" in mask["note"]
        subjects = [one["subject"] for one in found.data("drift")["differences"]]
        assert "kvm_ioeventfd_flag_nr_pv_mmio" in subjects
    assert "0x3f in Linux" in markdown.render_report(found) or not mask["note"]


def test_the_flags_that_assign_accepts_are_the_mask(report: Report) -> None:
    data = report.data("ioeventfd")
    accepted = sum(1 << one["bit"] for one in data["flags"] if one["accepted"])
    if data["mask"]["source"] != "BTF":
        pytest.skip("without BTF the mask is not the kernel's own")
    assert accepted == data["mask"]["value"]


def test_lengths_and_clashes_are_as_documented(report: Report) -> None:
    data = report.data("ioeventfd")
    any_length = bool(data["any_length"]["capability"])
    for one in data["lens"]:
        assert one["documented"] == (one["len"] in LENGTHS)
        if one["len"] or any_length:
            assert one["accepted"] == one["documented"], one
    assert [one for one in data["clashes"] if one["errno"] != one["documented"]] == []


@pytest.mark.skipif(not X86, reason="the guest is x86's")
def test_each_write_of_the_costs_either_signalled_or_exited(report: Report) -> None:
    costs = report.data("ioeventfd")["costs"]
    assert costs["reason"] == ""
    assert len(costs["rows"]) == 7
    for one in costs["rows"]:
        if not one["errno"]:
            registered = one["len"] is not None
            assert one["signals"] == (one["writes"] if registered else 0)
            assert one["exits"] == (0 if registered else one["writes"])
            assert 0 < one["min_cycles"] <= one["median_cycles"]


@pytest.mark.parametrize(
    ("any_length", "verdict"), [(3000, "yes"), (9000, "no"), (None, "unknown")]
)
def test_the_verdict_on_the_fast_path_follows_the_costs(
    any_length: int | None, verdict: str
) -> None:
    rows = [{"name": "mmio signal", "min_cycles": 9000, "signals": 64}]
    if any_length:
        rows.append({"name": "mmio signal, any-length", "min_cycles": any_length, "signals": 64})
    assert guest_writes._fast_path(rows)["verdict"] == verdict


def test_capacity_says_what_ended_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with System.open() as system:
        few = ioeventfd_costs.capacity(system, thorough=True, bound=20)
        assert (few["accepted"], few["stopped"], few["errno"]) == (20, "bound", "")
        monkeypatch.setattr(ioeventfd_costs, "CAPACITY_BUDGET_S", 0.0)
        hasty = ioeventfd_costs.capacity(system, thorough=False, bound=20)
        assert hasty["stopped"] == "time"
        assert hasty["accepted"] < 20
        monkeypatch.setattr(ioeventfd_costs, "BASE", (1 << 64) - 28)
        refused = ioeventfd_costs.capacity(system, thorough=True, bound=20)
        assert (refused["stopped"], refused["errno"]) == ("refused", "EINVAL")
        assert refused["accepted"] == 3


def test_statistics_of_a_fresh_vm(report: Report) -> None:
    section = report.sections["stats"]
    if section.status == "skipped":
        pytest.skip(section.reason)
    names = {one["name"] for one in report.data("stats")["vcpu"]["statistics"]}
    # Source: virt/kvm/kvm_main.c, the statistics that every architecture has.
    assert {"halt_successful_poll", "halt_wait_ns", "blocking"} <= names


@pytest.mark.skipif(not X86, reason="CPUID and MSRs are x86's")
def test_cpuid_and_msrs(report: Report) -> None:
    functions = {one["function"] for one in report.data("cpuid")["supported"]["entries"]}
    assert {0, 1, 0x8000_0000, 0x4000_0000} <= functions
    saved = {one["index"]: one["name"] for one in report.data("msrs")["saved"]}
    assert saved[0x10] == "TSC"
    assert saved[0xC000_0082] == "LSTAR"


def test_nothing_is_left_behind() -> None:
    before = set(Path("/proc/self/fd").iterdir())
    probe()
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_the_report_is_all_in_the_markdown(report: Report) -> None:
    text = markdown.render_report(report)
    for one in report.data("caps")["capabilities"]:
        if one["system"]:
            assert one["name"].removeprefix("KVM_CAP_") in text
    assert report.kernel_release in text


def run(*arguments: str | Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-m", "kvmabi.probe", *arguments]
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    return subprocess.run(
        command, env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command(tmp_path: Path) -> None:
    done = run("--json", "-", "--only", "caps,devices")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert list(body["sections"]) == ["caps", "devices"]
    worse = copy.deepcopy(body)
    worse["kernel_release"] = "99.0"
    for one in worse["sections"]["caps"]["data"]["capabilities"]:
        one["system"] = one["vm"] = 0
    (tmp_path / "worse.json").write_text(json.dumps(worse))
    (tmp_path / "same.json").write_text(done.stdout)
    only = ("--only", "caps,devices")
    assert run("--compare", tmp_path / "same.json", *only).returncode == 0
    lost = run("--compare", tmp_path / "worse.json", *only)
    assert lost.returncode == 1
    assert "KVM_CAP_IOEVENTFD " in lost.stdout


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make this situation")


def can_unshare() -> bool:
    if not shutil.which("unshare"):
        return False
    return not subprocess.run(
        ["unshare", "-m", "true"], capture_output=True, check=False
    ).returncode


@needs_root
@pytest.mark.skipif(not can_unshare(), reason="mount namespaces cannot be made here")
def test_a_namespace_without_the_device() -> None:
    script = 'mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"'
    done = run("--json", "-", prefix=("unshare", "-m", "sh", "-c", script, "sh"))
    assert done.returncode == 3
    body = json.loads(done.stdout)
    assert body["kvm"]["situation"] in ("no-device-node", "container-without-device")
    assert body["sections"]["substrate"]["status"] == "ok"
    assert body["sections"]["caps"]["status"] == "skipped"
    assert "what to do: " in done.stderr
    assert "Traceback" not in done.stderr


@needs_root
def test_a_user_without_permission() -> None:
    if os.stat("/dev/kvm").st_mode & 0o006:  # noqa: PTH116
        pytest.skip("everybody may open /dev/kvm here")
    if not shutil.which("setpriv"):
        pytest.skip("there is no setpriv here")
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    if subprocess.run([*nobody, "test", "-r", TOP / "kvmabi/probe.py"], check=False).returncode:
        pytest.skip("this checkout may not be read by others")
    done = run("--json", "-", prefix=nobody)
    assert done.returncode == 3
    kvm = json.loads(done.stdout)["kvm"]
    assert kvm["situation"] == "no-permission"
    assert "usermod -aG" in kvm["remedy"]


FOREIGN = """
import os, sys, types
real = os.uname()
names = {name: getattr(real, name) for name in ("sysname", "nodename", "release", "version")}
os.uname = lambda: types.SimpleNamespace(**names, machine=sys.argv[1])
from kvmabi.cli import main
sys.exit(main(["probe", "--json", "-"]))
"""


@pytest.mark.skipif(not X86, reason="takes x86 for another architecture")
@pytest.mark.parametrize(
    ("machine", "code", "answered"), [("aarch64", 0, True), ("sparc64", 3, False)]
)
def test_sections_degrade_on_other_architectures(machine: str, code: int, answered: bool) -> None:
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN, machine],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    sections = json.loads(done.stdout)["sections"]
    status = {name: one["status"] for name, one in sections.items()}
    assert "failed" not in status.values(), {n: one["reason"] for n, one in sections.items()}
    assert done.returncode == code
    assert status["substrate"] == "ok"
    assert status["msrs"] == status["cpuid"] == "skipped"
    assert (status["caps"] == status["devices"] == "ok") is answered
