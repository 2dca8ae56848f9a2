"""`kvmabi abi show` and `kvmabi abi decode`: what they say of things whose answer is known."""

from __future__ import annotations

import importlib
import json

import pytest

from kvmabi import arch, cli
from kvmabi.abi import view
from kvmabi.errors import ExitCode


def say(capsys, *arguments):
    assert cli.main(["abi", *arguments]) == ExitCode.KEPT
    return capsys.readouterr().out


def lines(text):
    return [" ".join(one.split()) for one in text.splitlines()]


def test_a_struct_with_a_union(capsys):
    # Documentation/virt/kvm/api.rst, KVM_REGISTER_COALESCED_MMIO.
    found = lines(say(capsys, "show", "kvm_coalesced_mmio_zone"))
    assert found[:9] == [
        "struct kvm_coalesced_mmio_zone {",
        "offset size",
        "0 8 __u64 addr;",
        "8 4 __u32 size;",
        "12 4 union {",
        "12 4 __u32 pad;",
        "12 4 __u32 pio;",
        "};",
        "} 16 bytes, alignment 8, no holes",
    ]
    assert found[10].startswith("on all architectures")


def test_bit_fields_and_arrays_of_records(capsys):
    found = lines(say(capsys, "show", "kvm_ioapic_state", "--arch", "x86"))
    assert "} redirtbl[24];" in found
    # asm/kvm.h: vector:8, delivery_mode:3, dest_mode:1 ... mask:1 in the third byte.
    assert "25 .0-2 __u8 delivery_mode:3;" in found
    assert "25 .3 __u8 dest_mode:1;" in found
    assert "26 .0 __u8 mask:1;" in found


def test_holes_and_wide_integers(capsys):
    found = lines(say(capsys, "show", "kvm_regs", "--arch", "arm64"))
    assert "328 8 -- hole" in found  # behind 288 + 5 * 8, since __int128 is aligned to 16
    assert "} 864 bytes, alignment 16, 8 bytes in 1 holes" in found
    assert "0 512 unsigned __int128 vregs[32];" in lines(
        say(capsys, "show", "user_fpsimd_state", "--arch", "aarch64")
    )


def test_other_layouts_are_named(capsys):
    found = say(capsys, "show", "kvm_regs")
    assert "other layouts" in found
    assert "on arm64: struct, 864 bytes" in found or "on x86: struct, 144 bytes" in found


def test_flexible_arrays(capsys):
    assert "8 0 struct kvm_cpuid_entry2 entries[];" in lines(say(capsys, "show", "kvm_cpuid2"))
    assert "8 0 struct kvm_irq_routing_entry entries[];" in lines(
        say(capsys, "show", "kvm_irq_routing")
    )


def test_an_ioctl(capsys):
    found = say(capsys, "show", "KVM_IOEVENTFD", "--arch", "x86", "--arch", "mips")
    assert "KVM_IOEVENTFD = 0x4040ae79 = _IOW(0xae, 0x79, struct kvm_ioeventfd)" in found
    assert "size 64 bytes" in found
    assert "on mips: = 0x8040ae79" in found


def test_constants_functions_and_reasons(capsys):
    assert "KVM_CAP_IOEVENTFD = 36 (0x24)" in say(capsys, "show", "KVM_CAP_IOEVENTFD")
    assert "KVM_REG_SIZE(id: int) -> unsigned int" in say(capsys, "show", "KVM_REG_SIZE")
    assert "PAGE_SIZE is not defined" in say(capsys, "show", "KVM_COALESCED_MMIO_MAX")
    assert "overlay" in say(capsys, "show", "KVM_IOEVENTFD_FLAG_PV_MMIO")
    assert "0x1f in the kernel's headers" in say(capsys, "show", "KVM_IOEVENTFD_VALID_FLAG_MASK")


def test_a_pattern_gives_a_line_each(capsys):
    found = say(capsys, "show", "KVM_CAP_IOEVENTFD*").splitlines()
    names = [one.split()[0] for one in found]
    assert names == [
        "KVM_CAP_IOEVENTFD", "KVM_CAP_IOEVENTFD_ANY_LENGTH", "KVM_CAP_IOEVENTFD_NO_LENGTH"
    ]  # fmt: skip


def test_an_unknown_name_is_a_usage_error_with_advice(capsys):
    assert cli.main(["abi", "show", "KVM_IOEVENTFT"]) == ExitCode.USAGE
    assert "did you mean KVM_IOEVENTFD" in capsys.readouterr().err
    assert cli.main(["abi", "show", "NO_SUCH_*"]) == ExitCode.USAGE


def test_json(capsys, tmp_path):
    found = json.loads(say(capsys, "show", "kvm_ioeventfd", "KVM_IOEVENTFD", "--json", "-"))
    assert [one["name"] for one in found] == ["kvm_ioeventfd", "KVM_IOEVENTFD"]
    layout = found[0]["forms"][0]
    assert (layout["is"], layout["size"], len(layout["architectures"])) == ("layout", 64, 7)
    assert layout["members"][1]["offset"] == 8
    target = tmp_path / "numbers.json"
    say(capsys, "decode", "0x4040ae79", "--arch", "x86", "--json", str(target))
    assert json.loads(target.read_text())[0]["ioctls"][0]["name"] == "KVM_IOEVENTFD"


def test_every_name_of_every_architecture_can_be_shown(capsys):
    found = say(capsys, "show", "*").splitlines()
    assert len(found) > 1500
    for name in arch.ARCHITECTURES:
        module = vars(importlib.import_module(f"kvmabi.uapi.{name}"))
        layouts = [one for one in module["__all__"] if view.layout(module, one)]
        assert len(layouts) > 100
    tagged = sorted({one.split()[0] for one in found if one.split()[0].startswith("kvm_")})
    say(capsys, "show", *tagged)


def test_since_which_snapshot(capsys):
    assert "since 6.1 or before" in say(capsys, "show", "KVM_IOEVENTFD")
    # api.rst: KVM_PRE_FAULT_MEMORY came with 6.11.
    assert "since 6.12" in say(capsys, "show", "KVM_PRE_FAULT_MEMORY")
    found = lines(say(capsys, "show", "kvm_run", "--arch", "x86"))
    assert "} memory_fault; since 6.12" in found  # which came with 6.8


def test_without_snapshots_nothing_is_said(capsys, monkeypatch):
    monkeypatch.setattr("kvmabi.abi.snapshot.names", list)
    assert "since" not in say(capsys, "show", "KVM_IOEVENTFD")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("KVM_IOEVENTF", "has no KVM_IOEVENTF; did you mean KVM_IOEVENTFD"),
        ("NOPE*", "has no name that fits 'NOPE*'"),
        ("[", "has no name that fits '['"),
        ("", "has no empty name"),
    ],
)
def test_a_name_that_is_not_there_is_one_line(capsys, name, message):
    assert cli.main(["abi", "show", name]) == ExitCode.USAGE
    (said,) = lines(capsys.readouterr().err)
    assert message in said


def test_decode(capsys):
    assert "KVM_IOEVENTFD" in say(capsys, "decode", "0x4040ae79", "--arch", "x86")
    assert "KVM_RUN = 0xae80 = _IO(0xae, 0x80)" in say(capsys, "decode", "44672", "--arch", "s390")
    assert "KVM_RUN = 0x2000ae80" in say(capsys, "decode", "0x2000ae80", "--arch", "ppc64le")
    # A negative number, as a signed int shows KVM_GET_REGS = 0x8090ae81.
    assert "KVM_GET_REGS" in say(capsys, "decode", str(0x8090AE81 - (1 << 32)), "--arch", "x86")


def test_decode_says_what_is_near_and_where_else(capsys):
    found = say(capsys, "decode", "0x4040ae79", "--arch", "mips")
    assert "no ioctl of KVM" in found
    assert "another form: KVM_IOEVENTFD = 0x8040ae79" in found
    assert "this is KVM_IOEVENTFD" in found
    assert "no ioctl of KVM" in say(capsys, "decode", "1", "--arch", "x86")


@pytest.mark.parametrize("text", ["x", "0x1ffffffff", "-0x80000001", ""])
def test_what_is_no_ioctl_number(capsys, text):
    assert cli.main(["abi", "decode", "--", text]) == ExitCode.USAGE
    assert "number" in capsys.readouterr().err
