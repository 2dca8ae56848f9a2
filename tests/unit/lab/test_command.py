from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest

from kvmabi import cli, verbs
from kvmabi.errors import ExitCode, LabUnavailable, UsageError
from kvmabi.lab.backends import BACKENDS, backend, counting
from kvmabi.lab.commands.run import _log_file, _prefix, _seed_of, add_arguments
from kvmabi.lab.inside import port
from kvmabi.lab.kernels import Kernel
from kvmabi.lab.machine import qemu
from kvmabi.lab.machine.emulator import Machine, check_tools
from kvmabi.lab.rootfs.initramfs import check
from kvmabi.lab.rootfs.userland import RUNTIME, code_files, merged
from kvmabi.lab.words import Inner, inner_command

SVM = backend("svm")
CONFIG = dict.fromkeys(
    (
        "CONFIG_KVM",
        "CONFIG_KVM_AMD",
        "CONFIG_BLK_DEV_INITRD",
        "CONFIG_VIRTIO_PCI",
        "CONFIG_VIRTIO_CONSOLE",
        "CONFIG_DEVTMPFS",
        "CONFIG_EVENTFD",
    ),
    "y",
)


def parsed(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(options)


def kernel(config: dict[str, str] | None) -> Kernel:
    return Kernel("k", "the kernel k", "6.1", Path("vmlinuz"), {}, config=config)


@pytest.mark.parametrize(
    ("words", "inside", "json"),
    [
        (["matrix"], ["matrix", "--jobs", "1", "--json", "@records"], None),
        (
            ["matrix", "--json", "out", "--jobs", "4"],
            ["matrix", "--jobs", "4", "--json", "@records"],
            "out",
        ),
        (["matrix", "--json=-", "--jobs=2"], ["matrix", "--jobs=2", "--json", "@records"], "-"),
        (["matrix", "--list"], ["matrix", "--list"], None),
        (["matrix", "--repro=x"], ["matrix", "--repro=x"], None),
        (["abi", "verify"], ["abi", "verify"], None),
        (["probe", "--json", "out"], ["probe", "--json", "@records"], "out"),
        (["probe", "--json", "-"], ["probe", "--json", "-"], "-"),
    ],
)
def test_the_result_stays_outside(words: list[str], inside: list[str], json: str | None) -> None:
    assert inner_command(words) == Inner(inside, json)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--json", "x"],
        ["lab", "run"],
        ["compare", "a", "b"],
        ["headers", "list"],
        ["matrix", "--resume", "x"],
        ["matrix", "--resume=x"],
        ["bench", "--plot", "x.svg"],
    ],
)
def test_what_makes_no_sense_inside_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        inner_command(words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["frob"], "invalid choice: 'frob'"),
        (["matrix", "--bogus"], "unrecognized arguments: --bogus"),
        (["matrix", "--json"], "expected one argument"),
        (["matrix", "--repro", "x", "--list"], "not allowed with argument"),
    ],
)
def test_what_the_verb_does_not_take_is_told_before_anything_boots(words, text, capsys) -> None:
    with pytest.raises(SystemExit) as error:
        inner_command(words)
    assert error.value.code == ExitCode.USAGE
    assert text in capsys.readouterr().err


def test_files_that_the_verb_reads_are_brought_in(tmp_path: Path) -> None:
    image, old = tmp_path / "x.flat", tmp_path / "old.json"
    image.write_bytes(b"image")
    old.write_bytes(b"{}")
    guest = inner_command(["guest", str(image), "--memory", "1M"])
    assert guest == Inner(
        ["guest", "/files/0-x.flat", "--memory", "1M"], None, {"0-x.flat": b"image"}
    )
    probe = inner_command(["probe", f"--compare={old}", "--json", "new"])
    assert probe.words == ["probe", "--compare=/files/0-old.json", "--json", "@records"]
    assert (probe.json, probe.files) == ("new", {"0-old.json": b"{}"})


def test_folders_of_headers_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot see this machine's folders"):
        inner_command(["matrix", "--headers", str(tmp_path)])
    assert inner_command(["matrix", "--headers", "6.12"]).files == {}


@pytest.mark.parametrize("text", ["0", "-5", "nan", "inf", "soon"])
def test_a_deadline_is_a_time(text: str, capsys) -> None:
    with pytest.raises(SystemExit):
        parsed("--deadline", text)
    assert "above 0" in capsys.readouterr().err


def test_a_result_that_cannot_be_written_is_told_before_anything_boots(capsys) -> None:
    words = ["lab", "run", "--", "matrix", "--json", "/nonexistent/x.jsonl"]
    assert cli.main(words) == ExitCode.USAGE
    assert "--json /nonexistent/x.jsonl: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["lab"], ["lab", "run", "--backend", "none", "--", "matrix"]]
)
def test_bad_usage_is_exit_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(arguments)
    assert error.value.code == ExitCode.USAGE


def test_the_verb_behind_two_dashes_is_not_ours() -> None:
    words = ["lab", "run", "--kernel", "k", "--", "matrix", "--filter", "x", "--kernel"]
    args = verbs.make_parser("lab").parse_args(words)
    assert args.words == ["matrix", "--filter", "x", "--kernel"]


def test_an_unknown_back_end_is_told_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="svm, svm-shadow"):
        backend("none")
    assert all(one.name == name for name, one in BACKENDS.items())


def test_a_missing_emulator_is_exit_3_with_the_command(monkeypatch, capsys) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert cli.main(["lab", "run", "--", "matrix"]) == ExitCode.NOTHING_CHECKED
    err = capsys.readouterr().err
    assert "apt-get install -y --no-install-recommends qemu-system-x86\n" in err
    assert len(err.splitlines()) == 1


def test_what_bochs_lacks_is_one_command(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(Path, "is_file", lambda path: path.name == "isolinux.bin")
    with pytest.raises(LabUnavailable, match=r"install-recommends bochs seabios syslinux-common$"):
        check_tools(backend("vmx"))
    monkeypatch.setattr(shutil, "which", lambda name: name)  # the control
    check_tools(backend("vmx"))


def test_a_parameter_reaches_a_module_that_is_built_in() -> None:
    line = Machine(backend("vmx-shadow"), Path("k")).command_line
    assert "kvm_intel.ept=0" in line.split()
    assert "kvm_intel" not in Machine(backend("vmx"), Path("k")).command_line


@pytest.mark.parametrize("name", BACKENDS)
def test_the_first_process_knows_every_carrier(name: str) -> None:
    line = Machine(backend(name), Path("k")).command_line
    (carrier,) = [word for word in line.split() if word.startswith(port.PARAMETER)]
    assert carrier.removeprefix(port.PARAMETER) in port._CARRIERS


@pytest.mark.parametrize("line", ["", "quiet", "kvmabi.carrier=pigeon", "xkvmabi.carrier=virtio"])
def test_an_unknown_carrier_is_no_carrier(line: str) -> None:
    with pytest.raises(port.Trouble, match="names no line to the host"):
        port.open_port(line)


def test_a_log_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    assert _log_file(None) is None
    assert _log_file(str(tmp_path / "log")) == tmp_path / "log"
    with pytest.raises(UsageError, match=r"--log .*none/log: No such file"):
        _log_file(str(tmp_path / "none" / "log"))


def test_the_emulators_command() -> None:
    machine = Machine(SVM, Path("/k/vmlinuz"), arguments="extra=1")
    words = qemu.command(machine, LINES)
    text = " ".join(words)
    assert "q35,accel=tcg" in text
    assert "-cpu max,+svm" in text
    assert "-initrd /proc/self/fd/9" in text
    assert "socket,id=port,fd=7" in text
    assert "socket,id=console,fd=8" in text
    assert "panic=-1" in text
    assert "extra=1" in text
    assert "-no-reboot" in words


LINES = qemu.Lines("/proc/self/fd/9", port=7, console=8, monitor=6)


def test_a_machine_that_counts_lets_no_clock_of_ours_in() -> None:
    machine = Machine(counting(SVM), Path("/k/vmlinuz"), seed=7)
    text = " ".join(qemu.command(machine, LINES))
    assert "-icount shift=1,sleep=off" in text
    assert "-rtc base=2020-01-01T00:00:00,clock=vm" in text
    assert "-seed 7" in text
    assert "-device isa-debugcon,iobase=0xe9,chardev=port" in text
    assert "virtio" not in text
    assert "kvmabi.carrier=debug-port" in text


def test_any_other_machine_has_clocks_of_its_own() -> None:
    text = " ".join(qemu.command(Machine(SVM, Path("/k/vmlinuz")), LINES))
    assert not {"-icount", "-seed", "-rtc"} & set(text.split())
    assert "kvmabi.carrier=virtio" in text


@pytest.mark.parametrize(
    ("options", "seed"),
    [([], None), (["--deterministic"], 0), (["--deterministic", "--seed", "12"], 12)],
)
def test_the_seed_of_a_run(options: list[str], seed: int | None) -> None:
    assert _seed_of(parsed(*options)) == seed


def test_a_seed_alone_would_change_nothing() -> None:
    with pytest.raises(UsageError, match="--seed goes with --deterministic"):
        _seed_of(parsed("--seed", "1"))


@pytest.mark.parametrize("seed", ["-1", "x", "", str(1 << 64)])
def test_a_bad_seed(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--seed", seed)
    assert ended.value.code == ExitCode.USAGE
    assert "must be 0 to 2^64-1" in capsys.readouterr().err or seed == "-1"


def test_a_repeat_has_the_seed_too() -> None:
    assert _prefix(parsed("--deterministic")).endswith(" --deterministic --seed 0")
    assert "seed" not in _prefix(parsed())


def test_bochs_counts_nothing() -> None:
    with pytest.raises(UsageError, match="and vmx has none; svm and svm-shadow have"):
        counting(backend("vmx"))


def test_a_kernel_with_all_options_passes() -> None:
    check(kernel(CONFIG), SVM)
    check(kernel(None), SVM)


def test_without_a_way_to_its_ports_a_kernel_is_no_use_in_bochs() -> None:
    config = dict.fromkeys((*CONFIG, "CONFIG_KVM_INTEL"), "y")
    with pytest.raises(LabUnavailable, match="IOPL_IOPERM or CONFIG_DEVPORT is not set"):
        check(kernel(config), backend("vmx"))
    less = {name: value for name, value in config.items() if "VIRTIO" not in name}
    for option in ("CONFIG_X86_IOPL_IOPERM", "CONFIG_DEVPORT"):
        check(kernel({**less, option: "y"}), backend("vmx"))


@pytest.mark.parametrize("option", CONFIG)
def test_a_missing_option_is_told_before_the_boot(option: str) -> None:
    config = {name: value for name, value in CONFIG.items() if name != option}
    with pytest.raises(LabUnavailable, match=f"the kernel k cannot be tested.*{option} is not set"):
        check(kernel(config), SVM)


def test_the_code_has_kvmabi_and_what_it_needs() -> None:
    paths = {one.path for one in code_files()}
    assert {"kvmabi/kvmabi/lab/inside/init.py", "kvmabi/kvmabi/guest/exerciser.elf"} <= paths
    assert {"kvmabi/rich/__init__.py", "kvmabi/elftools/__init__.py"} <= paths
    assert any(path.startswith("kvmabi/ioctl_opt") for path in paths)


def test_the_run_time_list_is_the_projects() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    names = {line.split()[0].replace("-", "_") for line in project["dependencies"]}
    assert {{"elftools": "pyelftools"}.get(name, name) for name in RUNTIME} == names


@pytest.mark.parametrize(
    ("path", "want"),
    [("lib/x", "usr/lib/x"), ("lib64/x", "usr/lib64/x"), ("usr/lib/x", "usr/lib/x"), ("a", "a")],
)
def test_lib_is_a_link_into_usr(path: str, want: str) -> None:
    assert merged(path) == want
