"""Small kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

KVM_H = """\
#ifndef _UAPI__LINUX_KVM_H
#define _UAPI__LINUX_KVM_H
#include <linux/compiler.h>
#include <asm/types.h>
#include <asm/kvm.h>
#ifdef __KERNEL__
#include <linux/secret.h>
#endif
#define KVM_CAP_ONE 1
struct kvm_thing { int a; } __packed;
#endif
"""


def write_tree(top: Path, *, sublevel: int = 3) -> Path:
    files = {
        "Makefile": f"VERSION = 6\nPATCHLEVEL = 9\nSUBLEVEL = {sublevel}\n",
        "include/uapi/linux/kvm.h": KVM_H,
        "include/uapi/asm-generic/types.h": "typedef int s32;\n",
        "include/uapi/asm-generic/Kbuild": "mandatory-y += ioctl.h \\\n types.h\n",
        "arch/x86/include/uapi/asm/kvm.h": "#ifndef _ASM_X86_KVM_H\n#define X 1\n#endif\n",
        "arch/s390/include/uapi/asm/kvm.h": "#ifndef __LINUX_KVM_S390_H\n#define S 1\n#endif\n",
        "arch/riscv/include/asm/kvm.h": "not for programs\n",
    }
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return top


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "linux")
