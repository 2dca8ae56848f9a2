"""Configurations as data: what every kernel of the lab needs, what flavour and CPU add, and why.

A configuration is built up from nothing (``allnoconfig``): an option is on because a row below
says so, or because one of these selects it. What came out is compared with what was wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from kvmabi.errors import UsageError
from kvmabi.lab.build.patch import Version


@dataclass(frozen=True, slots=True)
class Option:
    """One option, without CONFIG_; kernels below `since` or from `until` on do not have it."""

    name: str
    value: str
    why: str
    since: Version = ()
    until: Version = ()

    def is_for(self, version: Version) -> bool:
        """Return whether a kernel of this version has the option."""
        late_enough = version[: len(self.since)] >= self.since
        return late_enough and (not self.until or version[: len(self.until)] < self.until)


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a build needs to know of a CPU: its name in the kernel's tree, and its options."""

    name: str
    kernel_name: str
    image: str
    """The image's path in the tree, which is also the make target's last part."""
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Flavour:
    """A named kind of kernel. `needs_pahole`: its types are described by BTF."""

    name: str
    about: str
    options: tuple[Option, ...]
    needs_pahole: bool = field(default=True)


def _rows(text: str, why: str, since: Version = (), until: Version = ()) -> tuple[Option, ...]:
    pairs = (word.partition("=") for word in text.split())
    return tuple(Option(name, value or "y", why, since, until) for name, _, value in pairs)


BASE: Final = (
    *_rows("EXPERT", "what is not asked for stays off"),
    *_rows("LOCALVERSION_AUTO=n", "a commit's name in the release would rebuild too much"),
    *_rows("SMP", "what a tested kernel would have: locks are real"),
    *_rows("NR_CPUS=8", "more than a lab has", since=(6, 1)),
    *_rows("KERNEL_GZIP", "unpacks fast, and gzip is everywhere"),
    *_rows("CC_OPTIMIZE_FOR_PERFORMANCE", "the optimiser sees KVM as a distribution's does"),
    *_rows("WERROR=n", "a warning is the patch author's affair, and stops no test"),
    *_rows("PRINTK BUG DEBUG_BUGVERBOSE", "a kernel's last words, with file and line"),
    *_rows("KALLSYMS", "names in a trace"),
    *_rows("MAGIC_SYSRQ", "a test can crash it"),
    *_rows("TTY", "the serial console"),
    *_rows("BLK_DEV_INITRD", "all of user space comes as an initramfs"),
    *_rows("BINFMT_ELF BINFMT_SCRIPT", "init is a Python script"),
    *_rows("PROC_FS PROC_SYSCTL SYSFS DEVTMPFS TMPFS SHMEM", "what init mounts"),
    *_rows("DEBUG_FS", "KVM's statistics"),
    *_rows("MULTIUSER", "uid and gid as everywhere"),
    *_rows("FUTEX EPOLL EVENTFD MEMFD_CREATE", "Python's threads, and what a case opens"),
    *_rows("POSIX_TIMERS HIGH_RES_TIMERS", "deadlines; KVM's timers"),
    *_rows("ADVISE_SYSCALLS MEMBARRIER RSEQ FILE_LOCKING", "what libc and Python expect"),
    *_rows("MODULES MODULE_UNLOAD", "KVM is a module, so that a change rebuilds little"),
    *_rows("PCI PCI_MSI", "where the emulator's devices are"),
    *_rows("VIRTIO_MENU VIRTIO_PCI VIRTIO_CONSOLE", "the line that carries results out"),
    *_rows("DEVPORT DEVMEM", "an emulator without virtio takes results by an I/O port"),
    *_rows("VIRTUALIZATION KVM=m", "what is tested"),
    *_rows("PERF_EVENTS FTRACE", "counts of KVM's tracepoints"),
    *_rows("ENABLE_DEFAULT_TRACERS", "events without a function tracer, which would cost time"),
)

BTF: Final = (
    *_rows("DEBUG_KERNEL DEBUG_INFO_DWARF4", "what BTF is made of"),
    *_rows("BPF_SYSCALL", "BTF depends on it"),
    *_rows("DEBUG_INFO_BTF DEBUG_INFO_BTF_MODULES", "the kernel tells its own valid flag mask"),
)

DEBUG: Final = (
    *_rows("KASAN KASAN_GENERIC", "use after free and reads out of bounds"),
    *_rows("KASAN_VMALLOC=n", "shadow memory that a small machine lacks"),
    *_rows("STACKTRACE STACKDEPOT", "who allocated and freed it"),
    *_rows("PROVE_LOCKING", "lock order, and what may be held where"),
    *_rows("DEBUG_ATOMIC_SLEEP", "sleeping where that is forbidden"),
    *_rows("DEBUG_KMEMLEAK", "memory that nobody can reach any more"),
    *_rows("DEBUG_KMEMLEAK_MEM_POOL_SIZE=40000", "boot and the first scan must fit"),
    *_rows("DEBUG_KMEMLEAK_AUTO_SCAN=n", "the lab scans when the verb is over"),
    *_rows("FAULT_INJECTION FAILSLAB FAULT_INJECTION_DEBUG_FS", "allocations that fail on demand"),
    *_rows("DEBUG_LIST", "corrupt lists"),
    *_rows("DEBUG_OBJECTS DEBUG_OBJECTS_RCU_HEAD DEBUG_OBJECTS_WORK", "freed while in use"),
    *_rows("SLUB_DEBUG SLUB_DEBUG_ON", "writes behind an object"),
    *_rows("DEBUG_VM", "wrong use of pages"),
    *_rows("DEBUG_PREEMPT PREEMPT", "races that a preempted kernel shows"),
    *_rows("DETECT_HUNG_TASK", "a task that waits for ever"),
    *_rows("RCU_CPU_STALL_TIMEOUT=120", "an emulator on a busy machine is slow, not stalled"),
    *_rows("FRAME_WARN=0", "KASAN's frames are large"),
)

X86: Final = Architecture(
    "x86_64",
    "x86",
    "arch/x86/boot/bzImage",
    (
        *_rows("64BIT", "the lab's CPUs"),
        *_rows("ACPI", "how the emulators describe CPUs and power"),
        *_rows("SERIAL_8250 SERIAL_8250_CONSOLE", "the log"),
        *_rows("X86_IOPL_IOPERM", "that port is written by an instruction, not by a system call"),
        *_rows("KVM_AMD=m", "the back ends svm and svm-shadow"),
        *_rows("IA32_FEAT_CTL KVM_INTEL=m", "the back ends vmx and vmx-shadow"),
        *_rows("KVM_WERROR=n", "as WERROR"),
        *_rows("KVM_SMM", "as distributions have it", since=(6, 2)),
        *_rows("KVM_HYPERV", "as distributions have it", since=(6, 8)),
        *_rows("RANDOMIZE_BASE=n", "an address in a log means the same in each boot"),
        *_rows("SPECULATION_MITIGATIONS=n", "nobody to be kept out; faster", until=(6, 9)),
        *_rows("CPU_MITIGATIONS=n", "nobody to be kept out; faster", since=(6, 9)),
        *_rows("UNWINDER_FRAME_POINTER", "traces to rely on, without a pass over every object"),
    ),
)

ARCHITECTURES: Final = MappingProxyType({X86.name: X86})

FLAVOURS: Final = MappingProxyType(
    {
        one.name: one
        for one in (
            Flavour("tiny", "small and quick to build, with BTF", BTF),
            Flavour("bare", "tiny without BTF: the valid flag mask is a guess", (), False),
            Flavour(
                "debug",
                "KASAN, lockdep, kmemleak, fault injection and more: slow, and sees more",
                (*BTF, *DEBUG),
            ),
        )
    }
)


def flavour(name: str) -> Flavour:
    """Return the flavour of this name; UsageError for an unknown one."""
    try:
        return FLAVOURS[name]
    except KeyError:
        raise UsageError(f"there is no flavour {name!r}; there are {', '.join(FLAVOURS)}") from None


def wanted(kind: Flavour, architecture: Architecture, version: Version) -> tuple[Option, ...]:
    """Return the options of a kernel; where two rows have one name, the later one counts."""
    own = Option("LOCALVERSION", f'"-{kind.name}"', "the release tells the flavour")
    rows = (*BASE, *architecture.options, *kind.options, own)
    return tuple({row.name: row for row in rows if row.is_for(version)}.values())


def text(options: Iterable[Option]) -> str:
    """Return the options as kconfig reads them."""
    return "".join(
        f"# CONFIG_{one.name} is not set\n"
        if one.value == "n"
        else f"CONFIG_{one.name}={one.value}\n"
        for one in options
    )


def not_as_wanted(options: Iterable[Option], got: Mapping[str, str]) -> list[str]:
    """Return a line for each option that came out otherwise; `got` is option to value, as read."""
    found = []
    for one in options:
        value = got.get(f"CONFIG_{one.name}", "n")
        if value != one.value:
            found.append(f"CONFIG_{one.name} is {value}, wanted {one.value} ({one.why})")
    return found
