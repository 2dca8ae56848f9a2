"""`kvmabi abi verify`: modules, macros as functions, and what the verb says of a wrong one."""

from __future__ import annotations

import json
import sys

import pytest

from kvmabi import arch, cli
from kvmabi.abi import proof_functions
from kvmabi.abi.build import read_abi
from kvmabi.abi.commands import verify
from kvmabi.abi.compare import Comparison
from kvmabi.abi.emit import ModuleSource, emit_module
from kvmabi.abi.module_check import compare_module
from kvmabi.abi.proof import Proof
from kvmabi.errors import ExitCode

pytestmark = pytest.mark.usefixtures("tool")  # which skips without a compiler

# What the headers of each architecture have at least.
FUNCTIONS = {
    "x86": 5, "arm64": 10, "riscv": 18, "s390": 3, "powerpc": 6, "loongarch": 4, "mips": 5
}  # fmt: skip


def shipped(architecture, tree_of):
    """The module as shipped, beside the ABI with overlays that it was made of."""
    return verify.shipped_module(architecture), read_abi(tree_of(architecture), architecture)


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_every_shipped_module_says_what_the_headers_say(tree_of, name):
    module, abi = shipped(arch.ARCHITECTURES[name], tree_of)
    result = Comparison()
    compare_module(module, abi, result)
    assert [str(difference) for difference in result.differences] == []
    assert result.counts["module"] > 1000


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_functions_return_what_the_compiler_works_out(tree_of, name):
    architecture = arch.ARCHITECTURES[name]
    module, abi = shipped(architecture, tree_of)
    calls = list(proof_functions.calls(abi, seed=7))
    proof = Proof(abi, tree_of(architecture))
    theirs = proof_functions.results(proof.work_out(proof_functions.source(calls)))
    result = Comparison()
    proof_functions.compare(calls, theirs, module, result)
    assert [str(difference) for difference in result.differences] == []
    names = {call.macro.name for call in calls}
    assert len(names) >= FUNCTIONS[name]
    assert result.counts["function macros"] > 0.8 * len(calls)
    module[min(names)] = lambda *_: 5  # and one that is wrong shows
    wrong = Comparison()
    proof_functions.compare(calls, theirs, module, wrong)
    assert wrong.differences


@pytest.mark.parametrize(
    ("name", "value"),
    [("KVM_EXIT_IO", 3), ("KVM_RUN", 0), ("kvm_ioeventfd_flag_nr_pio", None), ("kvm_regs", None)],
)
def test_a_wrong_module_shows(tree_of, name, value):
    module, abi = shipped(arch.X86, tree_of)
    module[name] = value
    result = Comparison()
    compare_module(module, abi, result)
    assert name in {difference.subject for difference in result.differences}


def test_a_wrong_layout_and_a_name_too_many_show(tree_of):
    module, abi = shipped(arch.X86, tree_of)
    module["kvm_regs"] = module["kvm_sregs"]
    module["__all__"] = [*module["__all__"], "KVM_NO_SUCH"]
    result = Comparison()
    compare_module({**module, "KVM_NO_SUCH": 1}, abi, result)
    found = {(difference.subject, difference.fact) for difference in result.differences}
    assert {("kvm_regs", "size"), ("KVM_NO_SUCH", "in the headers")} <= found


C_ARITHMETIC = """
typedef unsigned long long u64;
#define SHIFTS(a, b) ((a) << 3 | (a) >> (b) | (1 << (b)) | (-1 >> 3))
#define DIVIDES(a, b) ((a) / 7 + (a) % 9 - (int)(a) / 3 + (short)(b) % 5 + (a) / ((b) | 1))
#define DECIDES(a, b) ((a) > (b) ? (signed char)(a) : (b) && !(a) ? ~(b) : -(a))
#define MIXES(a, b) ((int)(a) < -1 || (unsigned)(b) > 5u ? (_Bool)(a) : (unsigned char)(b) * -3L)
#define BLOCK(a, b) ({ int x = (a); unsigned short y = (b); x += y; y *= x; x ^= y << 2; x - y; })
#define INNER(a, b) ({ u64 z = BLOCK(a, b); z -= (z == 3); (z << 6 | ((b) & 7)); })
#define OMITS(a, b) ((a) ?: (b))
struct s { int a; struct { long b[4]; } c; };
#define PLACE(f) (offsetof(struct s, f) / sizeof(int))
#define LIST(x, ...) THREE(x, __VA_ARGS__)
#define THREE(x, y, z) ((x) * 3 + (y) * 5 - (z))
"""


def test_cs_arithmetic_in_all_its_forms(tmp_path):
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "kvm.h").write_text(C_ARITHMETIC)
    from kvmabi.header import HeaderTree

    tree = HeaderTree.of(tmp_path)
    abi = read_abi(tree, arch.X86)
    assert [macro.name for macro in abi.functions.values() if macro.reason] == []
    text = emit_module(ModuleSource(abi, abi, "", "a test"))
    module: dict[str, object] = {"__name__": "generated"}
    exec(compile(text, "generated.py", "exec", dont_inherit=True), module)  # noqa: S102
    result = Comparison()
    for seed in range(8):
        calls = list(proof_functions.calls(abi, seed))
        code = Proof(abi, tree).work_out(proof_functions.source(calls))
        proof_functions.compare(calls, proof_functions.results(code), module, result)
    assert [str(difference) for difference in result.differences] == []
    assert result.counts["function macros"] > 1000


def test_the_verb_shows_a_table_and_reasons(capsys, tmp_path):
    target = tmp_path / "proof.json"
    code = cli.main(["abi", "verify", "--arch", "s390x", "-v", "--json", str(target)])
    out = capsys.readouterr().out
    assert code == ExitCode.KEPT
    assert "s390" in out
    assert "\nx86" not in out
    assert "left out: HINT_UNSAFE_IN_KVM" in out
    found = json.loads(target.read_text())["s390"]
    assert found["differences"] == []
    assert found["compared"]["ioctls"] > 80


def test_a_users_own_tree(tmp_path, capsys):
    for name in ("linux", "asm"):
        (tmp_path / name).mkdir()
    (tmp_path / "asm" / "kvm.h").write_text(
        "#ifndef _ASM_X86_KVM_H\n#define _ASM_X86_KVM_H\n#define KVM_OWN 1\n#endif\n"
    )
    (tmp_path / "linux" / "version.h").write_text(
        "#define LINUX_VERSION_CODE 459264\n#define LINUX_VERSION_MAJOR 7\n"
        "#define LINUX_VERSION_PATCHLEVEL 2\n#define LINUX_VERSION_SUBLEVEL 0\n"
    )
    (tmp_path / "linux" / "kvm.h").write_text(
        "#include <asm/kvm.h>\nstruct kvm_own { int a; };\n#define KVM_TWICE(x) ((x) * 2)\n"
    )
    assert cli.main(["abi", "verify", "--arch", "x86", "--headers", str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[2].split()
    assert (row[0], row[-2]) == ("x86", "0")
    assert cli.main(["abi", "verify", "--headers", str(tmp_path / "none")]) == ExitCode.USAGE


def test_without_a_compiler_the_command_is_given(monkeypatch, capsys):
    monkeypatch.setattr("kvmabi.headersets.sources.importlib.util.find_spec", lambda _name: None)
    assert cli.main(["abi", "verify"]) == ExitCode.NOTHING_CHECKED
    assert "python -m pip install 'ziglang" in capsys.readouterr().err


def test_a_difference_is_exit_1(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules["kvmabi.uapi.x86"].__dict__, "KVM_EXIT_IO", 3)
    assert cli.main(["abi", "verify", "--arch", "x86"]) == ExitCode.BROKEN
    assert "KVM_EXIT_IO: value is 3 here and 2 there" in capsys.readouterr().out
