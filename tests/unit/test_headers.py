"""`kvmabi headers` and `kvmabi abi diff` as users type them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmabi import cli
from kvmabi.abi import snapshot

Run = Callable[..., tuple[int, str, str]]
TOP = Path(__file__).parents[2]
IOCTL_H = """\
#define _IOC(d, t, n, s) ((d) << 30 | (s) << 16 | (t) << 8 | (n))
#define _IOW(t, n, a) _IOC(1U, t, n, sizeof(a))
"""
KVM_H = """\
#include <asm/kvm.h>
#include <linux/ioctl.h>
#define KVM_API_VERSION 12
#define KVM_CAP_ONE 1
#define KVM_IOEVENTFD_VALID_FLAG_MASK ((1 << kvm_ioeventfd_flag_nr_max) - 1)
enum { kvm_ioeventfd_flag_nr_max = 5 };
struct kvm_a { int x; int pad; };
#define KVM_GO _IOW(0xae, 1, struct kvm_a)
"""


def write_tree(top: Path, kvm_h: str = KVM_H, sublevel: int = 3) -> Path:
    files = {
        "Makefile": f"VERSION = 9\nPATCHLEVEL = 8\nSUBLEVEL = {sublevel}\n",
        "include/uapi/linux/kvm.h": kvm_h,
        "include/uapi/linux/ioctl.h": IOCTL_H,
        "arch/x86/include/uapi/asm/kvm.h": "#define X 1\n",
        "arch/mips/include/uapi/asm/kvm.h": "#define M 1\n",
    }
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "linux")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/kvmabi/headers"


@pytest.fixture
def run(store: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    assert not store.exists()

    def run(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_an_import_is_listed_and_can_be_compared(run: Run, tree: Path, store: Path) -> None:
    code, out, _ = run("headers", "import", tree, "--sanitise", "kvmabi")
    assert (code, out.partition(":")[0]) == (0, "linux-9.8.3")
    assert (store / "linux-9.8.3/source.json").is_file()
    assert "linux-9.8.3: Linux 9.8.3 from linux" in run("headers", "list")[1]
    (tree / "include/uapi/linux/kvm.h").write_text(KVM_H + "#define KVM_CAP_TWO 2\n")
    code, out, _ = run("abi", "diff", "linux-9.8.3", tree)
    assert code == 0
    assert "capability KVM_CAP_TWO added" in out


def test_an_overlay_comes_with_the_set(run: Run, tree: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.h"
    mine.write_text("#define KVM_CAP_MINE 9\n")
    imported = ("headers", "import", tree, "--sanitise", "kvmabi", "--name", "patched")
    assert run(*imported, "--overlay", mine, "--overlay", "pv-mmio")[0] == 0
    out = run("abi", "diff", tree, "patched", "--all")[1]
    assert "capability KVM_CAP_MINE added: 9" in out
    assert "KVM_IOEVENTFD_VALID_FLAG_MASK changed: 0x1f -> 0x3f" in out
    assert run("abi", "diff", f"{tree}+{mine}+pv-mmio", "patched")[1].endswith(
        "0 breaking, 0 need attention, 0 compatible\n"
    )


def test_a_failed_import_leaves_the_old_set(run: Run, tree: Path) -> None:
    run("headers", "import", tree, "--sanitise", "kvmabi", "--name", "mine")
    before = run("headers", "list")[1]
    (tree / "include/uapi/linux/kvm.h").write_text("struct {\n")
    code, _, err = run("headers", "import", tree, "--sanitise", "kvmabi", "--name", "mine")
    assert code == 2
    assert "linux/kvm.h" in err
    assert run("headers", "list")[1] == before


def test_a_header_that_is_not_there_is_no_import(run: Run, tree: Path) -> None:
    words = ("headers", "import", tree, "--sanitise", "kvmabi", "--include", "linux/no.h")
    assert run(*words)[0] == 2


@pytest.mark.parametrize(
    ("change", "code", "count"),
    [
        (("", ""), 0, "0 breaking, 0 need attention, 0 compatible"),
        (("KVM_CAP_ONE 1", "KVM_CAP_ONE 2"), 1, "1 breaking, 0 need attention, 0 compatible"),
        (("int pad;", "int y;"), 0, "0 breaking, 1 needs attention, 0 compatible"),
        (("int pad;", "int pad; int y;"), 1, "2 breaking, 0 need attention, 1 compatible"),
    ],
)
def test_exit_codes(
    run: Run, tree: Path, tmp_path: Path, change: tuple[str, str], code: int, count: str
) -> None:
    other = write_tree(tmp_path / "other", KVM_H.replace(*change))
    found, out, _ = run("abi", "diff", tree, other, "--arch", "x86")
    assert found == code
    assert count in out.splitlines()[-1]


def test_json_and_markdown_say_all(run: Run, tree: Path, tmp_path: Path) -> None:
    other = write_tree(tmp_path / "other", KVM_H.replace("KVM_CAP_ONE 1", "KVM_CAP_ONE 2"))
    code, out, _ = run("abi", "diff", tree, other, "--json", "-")
    (change,) = json.loads(out)["changes"]
    assert code == 1
    assert change["severity"] == "breaking"
    assert change["kind"] == "capability"
    assert change["detail"] == "1 -> 2"
    assert change["architectures"] == ["x86", "mips"]
    code, out, _ = run("abi", "diff", tree, other, "--markdown")
    assert code == 1
    assert "| capability | `KVM_CAP_ONE` | changed: 1 -> 2 |" in out
    run("abi", "diff", tree, other, "--json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["counts"]["breaking"] == 1


def test_what_cannot_be_compared_is_said(run: Run, tree: Path) -> None:
    code, _, err = run("abi", "diff", tree, "no-such-thing")
    assert code == 2
    assert "is no source of headers" in err
    assert run("abi", "diff", tree, "7.2", "--arch", "s390")[0] == 2
    assert run("abi", "diff", "running", "running")[0] == 2
    out = run("abi", "diff", tree, "7.2")[1]
    assert "not compared, since" in out


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "checkout"
    overlays = Path("kvmabi", "linux_headers", "overlays")
    shutil.copytree(TOP / overlays, top / overlays)
    (top / "pyproject.toml").touch()
    return top


def test_an_update_writes_says_what_changed_and_is_then_up_to_date(
    run: Run, tree: Path, root: Path
) -> None:
    update = ("headers", "update", tree, "--root", root)
    assert run(*update, "--check")[0] == 1
    assert not (root / "kvmabi" / "uapi").exists()
    code, out, _ = run(*update)
    assert code == 0
    assert "kvmabi/uapi/x86.py: written" in out
    assert run(*update, "--check")[0] == 0
    files = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    (tree / "include/uapi/linux/kvm.h").write_text(KVM_H.replace("KVM_CAP_ONE 1", "KVM_CAP_ONE 2"))
    code, out, _ = run(*update, "--check")
    assert code == 1
    assert "capability KVM_CAP_ONE changed: 1 -> 2" in out
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == files
    assert run(*update)[0] == 0
    assert run(*update, "--check")[0] == 0


def test_an_older_kernel_gets_a_snapshot_and_no_modules(run: Run, tree: Path, root: Path) -> None:
    run("headers", "update", tree, "--root", root)
    older = write_tree(tree.with_name("older"), sublevel=1)
    (older / "Makefile").write_text("VERSION = 5\nPATCHLEVEL = 8\nSUBLEVEL = 1\n")
    out = run("headers", "update", older, "--root", root)[1]
    assert "kvmabi/linux_headers/snapshots/5.8.txt: written" in out
    assert "uapi" not in out
    assert snapshot.names(root / "kvmabi/linux_headers/snapshots") == ["5.8", "9.8"]


def test_an_imported_set_is_imported_again_from_where_it_came(
    run: Run, tree: Path, root: Path
) -> None:
    run("headers", "import", tree, "--sanitise", "kvmabi")
    run("headers", "update", "linux-9.8.3", "--root", root)
    (tree / "include/uapi/linux/kvm.h").write_text(KVM_H + "#define KVM_CAP_TWO 2\n")
    out = run("headers", "update", "linux-9.8.3", "--root", root, "--check")[1]
    assert "capability KVM_CAP_TWO added: 2" in out


def test_a_folder_that_is_no_checkout_is_not_written_to(
    run: Run, tree: Path, tmp_path: Path
) -> None:
    assert run("headers", "update", tree, "--root", tmp_path / "empty")[0] == 2
    assert not (tmp_path / "empty").exists()
