"""The CPUID instruction, executed by this process: what the CPU says, past the kernel's edits.

/proc/cpuinfo leaves out "vmx" and "svm" where the firmware has switched them off, so that a CPU
without them looks the same; the instruction tells the two apart.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Final, NamedTuple

_CODE: Final = bytes.fromhex(
    "53"  # push %rbx
    "89f8"  # mov %edi, %eax
    "89f1"  # mov %esi, %ecx
    "4989d0"  # mov %rdx, %r8
    "0fa2"  # cpuid
    "418900"  # mov %eax, (%r8)
    "41895804"  # mov %ebx, 4(%r8)
    "41894808"  # mov %ecx, 8(%r8)
    "4189500c"  # mov %edx, 12(%r8)
    "5b"  # pop %rbx
    "c3"  # ret
)
"""void f(u32 function, u32 index, u32 registers[4]), System V calling convention."""


class Registers(NamedTuple):
    """EAX, EBX, ECX and EDX after CPUID."""

    eax: int
    ebx: int
    ecx: int
    edx: int


def cpuid(function: int, index: int = 0) -> Registers | None:
    """The registers of one CPUID; None where the CPU is no x86-64, or code may not be mapped."""
    if os.uname().machine != "x86_64" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    try:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # a policy forbids memory that is both writable and executable
        return None
    code.write(_CODE)
    registers = (ctypes.c_uint32 * 4)()
    anchor = ctypes.c_char.from_buffer(code)
    function_type = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)
    function_type(ctypes.addressof(anchor))(function, index, ctypes.addressof(registers))
    del anchor
    code.close()
    return Registers(*registers)


def cpu_offers() -> str:
    """Return "vmx", "svm" or "" as the CPU itself says; "unknown" where it cannot be asked."""
    first = cpuid(0)
    extended = cpuid(0x8000_0000)
    if first is None or extended is None:
        return "unknown"
    basic = cpuid(1)
    if basic is not None and basic.ecx >> 5 & 1:
        return "vmx"
    more = cpuid(0x8000_0001) if extended.eax >= 0x8000_0001 else None
    return "svm" if more is not None and more.ecx >> 2 & 1 else ""


def hypervisor_signature() -> str:
    """The twelve letters that the hypervisor below gives itself ("KVMKVMKVM"); "" for none."""
    basic = cpuid(1)
    if basic is None or not basic.ecx >> 31:
        return ""
    found = cpuid(0x4000_0000)
    if found is None:
        return ""
    raw = b"".join(one.to_bytes(4, "little") for one in found[1:])
    return raw.rstrip(b"\0 ").decode("ascii", "replace")
