"""The back ends that the lab can give a kernel: which emulator plays which CPU, and with what.

Figures in comments are measured on a 2-core machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from kvmabi.errors import UsageError


@dataclass(frozen=True, slots=True)
class Carrier:
    """What carries the job into a kernel under test, and the results out of it.

    The name is what the kernel's first process is told (`kvmabi.lab.inside.port`).
    """

    name: str
    modules: tuple[str, ...]
    """The kernel's modules that it needs."""
    options: Mapping[str, str]
    """The kernel's options that it needs ("A or B": one of them), and what is lacking without."""
    both_ways: bool
    """Whether the job comes by it; else it lies in the initramfs."""


VIRTIO: Final = Carrier(
    "virtio",
    ("virtio_pci", "virtio_console"),
    MappingProxyType(
        {
            "CONFIG_VIRTIO_PCI": "it has no virtio over PCI, which carries the results",
            "CONFIG_VIRTIO_CONSOLE": "it has no virtio console, which carries the results",
        }
    ),
    both_ways=True,
)
DEBUG_PORT: Final = Carrier(
    "debug-port",
    (),
    MappingProxyType(
        {
            "CONFIG_X86_IOPL_IOPERM or CONFIG_DEVPORT": "it lets no program use I/O ports, one of "
            "which carries the results"
        }
    ),
    both_ways=False,
)


SILENCE_S: Final = 240.0
"""After how many seconds without a frame a kernel counts as hung; more than a case may take."""


@dataclass(frozen=True, slots=True)
class Emulator:
    """A kind of machine. `files` has what it needs: a program or a file, and its package."""

    name: str
    program: str
    files: Mapping[str, str]
    carrier: Carrier
    boot_deadline_s: float
    """A kernel that is not up after this time is given up; a busy machine is reckoned with."""
    deadline_s: float
    """So is a run that is not over after this time, unless the user says otherwise."""
    keeps: bool
    """Whether a machine that has booted can be kept, for the next run to go on from."""
    silence_s: float = SILENCE_S


TCG: Final = "tcg"
KVM: Final = "kvm"
QEMU: Final = Emulator(
    "QEMU",
    "qemu-system-x86_64",
    MappingProxyType({"qemu-system-x86_64": "qemu-system-x86"}),
    VIRTIO,
    boot_deadline_s=600.0,  # 6 s of work, on a machine that may have much else to do
    deadline_s=1800.0,
    keeps=True,
)
BIOS: Final = "/usr/share/seabios/bios.bin"
VGA_BIOS: Final = "/usr/share/seabios/vgabios-stdvga.bin"
ISOLINUX: Final = "/usr/lib/ISOLINUX/isolinux.bin"
LDLINUX: Final = "/usr/lib/syslinux/modules/bios/ldlinux.c32"
BOCHS: Final = Emulator(
    "bochs",
    "bochs",
    MappingProxyType(
        {
            "bochs": "bochs",
            BIOS: "seabios",
            VGA_BIOS: "seabios",
            ISOLINUX: "isolinux",
            LDLINUX: "syslinux-common",
        }
    ),
    DEBUG_PORT,
    boot_deadline_s=1800.0,  # 20 to 60 s by itself, many times that beside builds
    deadline_s=10_800.0,  # the whole matrix is some half an hour
    keeps=False,  # what bochs saves it does not restore
    silence_s=1200.0,  # Python takes a minute of bochs' time until its first case
)

COUNTING_QEMU: Final = replace(
    QEMU,
    carrier=DEBUG_PORT,  # a write has reached us before the next instruction; nothing comes in
    boot_deadline_s=1800.0,
    deadline_s=10_800.0,  # some four times slower
    keeps=False,
)
"""QEMU with clocks that count the guest's instructions, so that it runs the same each time."""


NESTING_QEMU: Final = replace(QEMU, keeps=False)  # a boot takes a second or two there


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run a kernel's own KVM without KVM hardware."""

    name: str
    about: str
    module: str
    """The KVM module that must load; "" where this machine's CPU decides (`kvmabi.lab.nested`)."""
    parameters: str = ""
    """The module's parameters."""
    emulator: Emulator = field(default=QEMU)
    accelerator: str = TCG
    cpu: str = "max,+svm"


BACKENDS: Final = MappingProxyType(
    {
        one.name: one
        for one in (
            Backend("svm", "AMD SVM with nested paging, by QEMU's TCG", "kvm_amd"),
            Backend("svm-shadow", "AMD SVM with shadow paging, by QEMU's TCG", "kvm_amd", "npt=0"),
            Backend(
                "vmx",
                "Intel VMX with EPT, by bochs",
                "kvm_intel",
                emulator=BOCHS,
                accelerator="bochs",
                cpu="corei7_haswell_4770",
            ),
            Backend(
                "vmx-shadow",
                "Intel VMX with shadow paging, by bochs",
                "kvm_intel",
                "ept=0",
                emulator=BOCHS,
                accelerator="bochs",
                cpu="corei7_haswell_4770",
            ),
            Backend(
                "host",
                "this machine's own, nested, by QEMU with KVM",
                module="",
                emulator=NESTING_QEMU,
                accelerator=KVM,
                cpu="host",
            ),
        )
    }
)


def backend(name: str) -> Backend:
    """Return the back end of this name; UsageError for an unknown one."""
    try:
        return BACKENDS[name]
    except KeyError:
        raise UsageError(
            f"there is no back end {name!r}; the lab has {', '.join(BACKENDS)}"
        ) from None


def counting(chosen: Backend) -> Backend:
    """Return the back end on an emulator that runs the same each time; UsageError without one."""
    if chosen.emulator is not QEMU or chosen.accelerator != TCG:
        able = [one.name for one in BACKENDS.values() if one.accelerator == TCG]
        raise UsageError(
            f"--deterministic needs an emulator that counts instructions, and {chosen.name} has "
            f"none; {' and '.join(able)} have"
        )
    return replace(chosen, emulator=COUNTING_QEMU)
