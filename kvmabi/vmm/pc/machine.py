"""The PC: a VM with the kernel's interrupt controllers, our devices, and an image in its memory."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from kvmabi.errors import GuestCrash, GuestError, GuestTimeout, UsageError
from kvmabi.kvm import System, Vcpu
from kvmabi.vmm.bus import Bus
from kvmabi.vmm.doorbell import KvmRegistrar
from kvmabi.vmm.memory import PAGE_BYTES, Ram
from kvmabi.vmm.pc import crash, fw_cfg, hpet, layout, power, serial
from kvmabi.vmm.pc.acpi import acpi_tables
from kvmabi.vmm.pc.cpu import cpuid_of, enter_multiboot, physical_address_bits
from kvmabi.vmm.pc.debug_exit import PORTS as DEBUG_EXIT_PORTS
from kvmabi.vmm.pc.debug_exit import DebugExit, GuestExit
from kvmabi.vmm.pc.loop import serve_exits
from kvmabi.vmm.pc.multiboot import boot_information, load_multiboot, memory_map
from kvmabi.vmm.pc.pc_testdev import attach_pc_testdev
from kvmabi.vmm.pci import CONFIG_ADDRESS_PORT, CONFIG_PORTS, PciHost
from kvmabi.vmm.testdev import PciTestdev

Loop = Callable[[Vcpu, Bus, Bus, Callable[[OSError], None]], int]
LEAST_MEMORY = 2 * layout.MIB
JOIN_S = 5.0
"""How long a vCPU's thread may take to end once it is told to; the watchdog needs far less."""


@dataclass(frozen=True, slots=True)
class PcConfig:
    """How a PC is built."""

    cpus: int = 1
    memory_bytes: int = 128 * layout.MIB
    membar_bytes: int = 0
    """The size of pci-testdev's BAR2; 0 for none."""
    name: str = "guest image"
    """The image's name: in messages, and the first word of the guest's command line."""
    append: str = ""
    """The rest of the command line."""

    def check(self, address_bits: int) -> None:
        """Raise UsageError for a PC that cannot be, or whose BAR2 no CPU of it can address."""
        if not 1 <= self.cpus <= layout.MAX_VCPUS:
            raise UsageError(f"a PC has 1 to {layout.MAX_VCPUS} CPUs, not {self.cpus}")
        if self.memory_bytes % PAGE_BYTES or not (
            LEAST_MEMORY <= self.memory_bytes <= layout.MAX_RAM
        ):
            raise UsageError(
                f"a PC has {LEAST_MEMORY:#x} to {layout.MAX_RAM:#x} bytes of memory, in whole "
                f"pages, not {self.memory_bytes:#x}"
            )
        if layout.bar2_gpa(self.membar_bytes) + self.membar_bytes > 1 << address_bits:
            raise UsageError(
                f"a BAR of {self.membar_bytes:#x} bytes does not fit into the {address_bits} bits "
                "of a physical address that this CPU has"
            )


class PcMachine:
    """A PC with a multiboot image loaded; `run` it once. A context manager.

    `send` gets what the guest transmits by its serial port, byte by byte.
    """

    def __init__(
        self, system: System, image: bytes, config: PcConfig, send: Callable[[bytes], object]
    ) -> None:
        config.check(physical_address_bits(system))
        self.config = config
        self._failure: BaseException | None = None
        self._lock = threading.RLock()
        with ExitStack() as stack:
            low_end = min(config.memory_bytes, layout.MAX_LOW_RAM)
            loaded = load_multiboot(image, ram_end=low_end, name=config.name)
            self.vm = stack.enter_context(system.create_vm())
            self._make_kernel_devices()
            self.ram = self._make_ram(stack)
            self._make_devices(send)
            self._make_pci(stack)
            words = f"{config.name} {config.append}".rstrip()
            ranges = memory_map(low_end, config.memory_bytes - low_end)
            info = boot_information(words, ranges)
            for segment in (*loaded.segments, *acpi_tables(config.cpus), info):
                self.ram[0].write(segment.gpa, segment.data)
            self.vcpus = [self._make_vcpu(stack, system, index) for index in range(config.cpus)]
            enter_multiboot(self.vcpus[0], loaded.entry, info.gpa)
            self._resources = stack.pop_all()

    def _make_kernel_devices(self) -> None:
        self.vm.set_identity_map_address(layout.IDENTITY_MAP_GPA)
        self.vm.set_tss_address(layout.TSS_GPA)
        self.vm.create_irqchip()
        self.vm.create_pit()

    def _make_ram(self, stack: ExitStack) -> list[Ram]:
        """The RAM below 3 GiB, and above 4 GiB what is left; a hole for video memory."""
        low_end = min(self.config.memory_bytes, layout.MAX_LOW_RAM)
        ram = [Ram(0, low_end)]
        stack.callback(ram[0].close)
        hva = ram[0].hva
        self.vm.set_user_memory_region(0, 0, layout.LOW_END, hva)
        rest = low_end - layout.BIOS_GPA
        self.vm.set_user_memory_region(1, layout.BIOS_GPA, rest, hva + layout.BIOS_GPA)
        if self.config.memory_bytes > low_end:
            high = Ram(layout.ABOVE_4_GIB, self.config.memory_bytes - low_end)
            stack.callback(high.close)
            self.vm.set_user_memory_region(2, high.gpa, high.size_bytes, high.hva)
            ram.append(high)
        return ram

    def _make_devices(self, send: Callable[[bytes], object]) -> None:
        self.mmio, self.pio = Bus("mmio", self._lock), Bus("pio", self._lock)
        self.serial = serial.Serial16550(send)
        items = fw_cfg.pc_items(self.config.memory_bytes, self.config.cpus)
        self.pio.attach(layout.SERIAL_PORT, serial.PORTS, self.serial)
        self.pio.attach(layout.FW_CFG_PORT, fw_cfg.PORTS, fw_cfg.FwCfg(items))
        self.pio.attach(layout.PM_TIMER_PORT, power.TIMER_PORTS, power.PmTimer())
        for port in (layout.PM_EVENT_PORT, layout.PM_CONTROL_PORT):
            self.pio.attach(port, power.REGISTER_PORTS, power.PmRegisters())
        self.pio.attach(layout.DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS, DebugExit())
        self.mmio.attach(hpet.GPA, hpet.BYTES, hpet.Hpet())
        attach_pc_testdev(self.mmio, self.pio, self._flush_page, self.vm.set_irq_line)

    def _make_pci(self, stack: ExitStack) -> None:
        """PCI with pci-testdev on it, whose BARs are placed as firmware would have placed them."""
        pci, registrar = PciHost(), KvmRegistrar(self.vm)
        self.pio.attach(CONFIG_ADDRESS_PORT, CONFIG_PORTS, pci)
        self.testdev = PciTestdev(self.mmio, self.pio, registrar, self.config.membar_bytes)
        stack.callback(self.testdev.close)
        bases = (layout.BAR0_GPA, layout.BAR1_PORT, layout.bar2_gpa(self.config.membar_bytes))
        for index in range(len(self.testdev.bars)):
            self.testdev.set_bar(index, bases[index])
        self.testdev.decode()
        pci.functions[layout.TESTDEV_BDF] = self.testdev

    def _flush_page(self, gpa: int) -> None:
        for ram in self.ram:
            ram.flush_page(gpa)

    def _make_vcpu(self, stack: ExitStack, system: System, index: int) -> Vcpu:
        vcpu = self.vm.create_vcpu(index)
        stack.callback(vcpu.close)
        vcpu.set_cpuid2(cpuid_of(system, index, self.config.cpus))
        return vcpu

    def run(self, deadline_s: float, loop: Loop = serve_exits) -> int:
        """The status that the guest exits with; CPU 0 runs in this thread.

        `loop` is what serves the exits. Raises GuestTimeout, GuestCrash and IoctlError.
        """
        deadline = time.monotonic() + deadline_s
        others = [
            threading.Thread(target=self._run_vcpu, args=(vcpu, deadline, deadline_s, loop))
            for vcpu in self.vcpus[1:]
        ]
        for thread in others:
            thread.start()
        try:
            self._run_vcpu(self.vcpus[0], deadline, deadline_s, loop)
        finally:
            for thread in others:
                thread.join(JOIN_S)
        if isinstance(self._failure, GuestExit):
            return self._failure.status
        raise self._failure or GuestError("the guest ended without a status")

    def _run_vcpu(self, vcpu: Vcpu, deadline: float, seconds: float, loop: Loop) -> None:
        """Run one vCPU to the machine's end; what ends it first is kept for `run`."""

        def interrupted(error: OSError) -> None:
            code = error.errno or 0
            if self._failure is not None or vcpu.guard.expired:
                raise GuestTimeout(_late(vcpu, seconds), seconds=seconds) from None
            if code not in (errno.EINTR, errno.EAGAIN):
                raise vcpu.run_error(code, seconds) from None

        vcpu.guard.arm(deadline)
        if self._failure is not None:
            vcpu.guard.deadline = 0.0
        try:
            loop(vcpu, self.mmio, self.pio, interrupted)
            raise GuestCrash(f"{crash.why(vcpu.run)}: {_place(vcpu)}")
        except BaseException as end:
            self._end(end)
            if vcpu is self.vcpus[0] and isinstance(end, KeyboardInterrupt):
                raise
        finally:
            vcpu.guard.disarm()

    def _end(self, why: BaseException) -> None:
        """Keep the first end, and have the watchdog take every vCPU out of KVM_RUN."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure = why
        for vcpu in self.vcpus:
            vcpu.guard.deadline = 0.0

    def close(self) -> None:
        """Free the VM and all that it has; twice is fine."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _late(vcpu: Vcpu, seconds: float) -> str:
    rip = vcpu.get_regs().rip
    return f"vCPU {vcpu.index} had not ended within {seconds:g} s (rip {rip:#x})"


def _place(vcpu: Vcpu) -> str:
    return f"vCPU {vcpu.index} at rip {vcpu.get_regs().rip:#x}"
