"""What a vCPU needs to start in 64-bit mode: page tables, descriptors and registers.

Source: Intel SDM volume 3A, 4.5 (4-level paging), 9.8.5 (IA-32e mode); the segment values are those
of flat 64-bit code and data.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING

from kvmabi import uapi
from kvmabi.vmm import layout
from kvmabi.vmm.loader import Segment

if TYPE_CHECKING:
    from kvmabi.kvm import Vcpu

PRESENT = 1 << 0
WRITABLE = 1 << 1
LARGE = 1 << 7

CR0_PE = 1 << 0
CR0_MP = 1 << 1
CR0_ET = 1 << 4
CR0_NE = 1 << 5
CR0_PG = 1 << 31
CR4_PAE = 1 << 5
CR4_OSFXSR = 1 << 9
CR4_OSXMMEXCPT = 1 << 10
EFER_LME = 1 << 8
EFER_LMA = 1 << 10
RFLAGS_ALWAYS_ONE = 1 << 1

CODE_SELECTOR = 0x08
DATA_SELECTOR = 0x10
TSS_SELECTOR = 0x18
GDT = pack("<QQQQQ", 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x0000_8B00_0000_FFFF, 0)
"""Null, 64-bit code, data, and a busy 64-bit TSS of two entries at 0."""

TYPE_CODE = 11
TYPE_DATA = 3
TYPE_BUSY_TSS = 11


def page_tables(pages_1_gib: bool) -> list[Segment]:
    """Tables that map the first `MAPPED_BYTES` of guest-virtual memory to themselves."""
    gibs = layout.MAPPED_BYTES // layout.GIB
    flags = PRESENT | WRITABLE
    root = Segment(layout.PML4_GPA, _table([layout.PDPT_GPA | flags]))
    if pages_1_gib:
        entries = [gib * layout.GIB | flags | LARGE for gib in range(gibs)]
        return [root, Segment(layout.PDPT_GPA, _table(entries))]
    directories = [layout.PAGE_DIRECTORIES_GPA + 0x1000 * gib for gib in range(gibs)]
    pages = range(0, layout.MAPPED_BYTES, 2 * layout.MIB)
    return [
        root,
        Segment(layout.PDPT_GPA, _table([directory | flags for directory in directories])),
        Segment(directories[0], _table([page | flags | LARGE for page in pages])),
    ]


def _table(entries: list[int]) -> bytes:
    return pack(f"<{len(entries)}Q", *entries)


def enter_long_mode(vcpu: Vcpu) -> None:
    """Put the vCPU into 64-bit mode at CPL 0, with the tables above; SSE is on."""
    sregs = vcpu.get_sregs()
    flat_segment(sregs.cs, CODE_SELECTOR, TYPE_CODE, long_mode=1)
    for segment in (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss):
        flat_segment(segment, DATA_SELECTOR, TYPE_DATA, long_mode=0)
    tss = sregs.tr
    tss.base, tss.limit, tss.selector = 0, 0xFFFF, TSS_SELECTOR
    tss.type, tss.present, tss.s, tss.unusable = TYPE_BUSY_TSS, 1, 0, 0
    sregs.gdt.base, sregs.gdt.limit = layout.GDT_GPA, len(GDT) - 1
    sregs.idt.base, sregs.idt.limit = 0, 0
    sregs.cr3 = layout.PML4_GPA
    sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT
    sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG
    sregs.efer = EFER_LME | EFER_LMA
    vcpu.set_sregs(sregs)


def flat_segment(segment: uapi.kvm_segment, selector: int, kind: int, *, long_mode: int) -> None:
    """Make it a flat segment of code or data: all of 32 bits, or of 64 in `long_mode`."""
    segment.base, segment.limit, segment.selector = 0, 0xFFFF_FFFF, selector
    segment.type, segment.present, segment.dpl, segment.s = kind, 1, 0, 1
    segment.l, segment.db, segment.g, segment.unusable = long_mode, 1 - long_mode, 1, 0


def start_at(vcpu: Vcpu, entry: int, stack_top: int = 0, argument: int = 0) -> None:
    """Have the vCPU go on at `entry` with this stack pointer, and `argument` in RDI."""
    regs = uapi.kvm_regs()
    regs.rip, regs.rsp, regs.rdi = entry, stack_top, argument
    regs.rflags = RFLAGS_ALWAYS_ONE
    vcpu.set_regs(regs)
