"""The exerciser's machine: a VM, the shipped guest in it, and pci-testdev beside it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from kvmabi.errors import GuestMisled, UsageError
from kvmabi.guest import exerciser_image, mailbox
from kvmabi.vmm import boot, layout
from kvmabi.vmm.access import MMIO, PIO, Access, Batch, Exit
from kvmabi.vmm.bus import Bus
from kvmabi.vmm.doorbell import KvmRegistrar
from kvmabi.vmm.loader import Segment, load_elf
from kvmabi.vmm.memory import Ram
from kvmabi.vmm.pci import CONFIG_ADDRESS_PORT, CONFIG_PORTS, PciHost
from kvmabi.vmm.requests import Requests
from kvmabi.vmm.seat import Seat
from kvmabi.vmm.testdev import BAR0_BYTES, BAR1_BYTES, PciTestdev

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from kvmabi.kvm import VM, System
    from kvmabi.vmm.seat import Answer

BOOT_DEADLINE_S = 10.0


class ExerciserMachine:
    """A booted machine whose guest makes the accesses that `perform` is given.

    `hazardous` allows stores of 16 bytes, which have crashed host kernels: lab only. A context
    manager; one thread at a time may use a vCPU, each vCPU may have its own.
    """

    def __init__(
        self,
        system: System,
        vcpus: int = 1,
        *,
        hazardous: bool = False,
        boot_deadline_s: float = BOOT_DEADLINE_S,
    ) -> None:
        if not 1 <= vcpus <= layout.MAX_VCPUS:
            raise UsageError(f"a machine has 1 to {layout.MAX_VCPUS} vCPUs, not {vcpus}")
        with ExitStack() as stack:
            self.ram = Ram(layout.RAM_GPA, layout.RAM_BYTES)
            stack.callback(self.ram.close)
            self.vm: VM = stack.enter_context(system.create_vm())
            self._make_devices(stack)
            self._load(system)
            self._seats: list[Seat] = []
            for index in range(vcpus):
                self._seats.append(self._make_seat(system, index, hazardous))
                stack.callback(self._seats[-1].close)
            self.boot_exits: list[Exit] = []
            self._boot(boot_deadline_s)
            self._resources = stack.pop_all()

    @property
    def vcpus(self) -> int:
        """How many vCPUs there are; `perform` takes their index."""
        return len(self._seats)

    @property
    def bar0_gpa(self) -> int:
        """Where pci-testdev's memory BAR is now."""
        return _base(self.testdev.memory.bar.base, "BAR0")

    @property
    def bar1_port(self) -> int:
        """Where pci-testdev's I/O BAR is now."""
        return _base(self.testdev.io.bar.base, "BAR1")

    def perform(
        self,
        accesses: Sequence[Access],
        *,
        vcpu: int = 0,
        deadline_s: float = 5.0,
        timed: bool = False,
        handover: bool = False,
        answer: Answer | None = None,
    ) -> Batch:
        """What came of these accesses, made one after the other by one vCPU.

        `timed` has the guest take the cycles of each, which makes them somewhat slower. `handover`
        has each KVM_RUN made by another thread than the one before. `answer` gives the bytes of
        each read instead of the machine's devices.

        Exits are answered by the machine's devices (all ones where there is none), and recorded.
        Raises UsageError for an access that the guest cannot or must not make; GuestTimeout,
        GuestCrash and IoctlError where the guest is lost, and GuestError for every call after that.
        """
        return self._seats[vcpu].perform(
            accesses, deadline_s, timed=timed, handover=handover, answer=answer
        )

    def _make_devices(self, stack: ExitStack) -> None:
        lock = threading.RLock()
        self.mmio = Bus(MMIO, lock)
        self.pio = Bus(PIO, lock)
        self.pci = PciHost()
        self.testdev = PciTestdev(self.mmio, self.pio, KvmRegistrar(self.vm))
        stack.callback(self.testdev.close)
        self.testdev.set_bar(0, layout.BAR0_GPA)
        self.testdev.set_bar(1, layout.BAR1_PORT)
        self.pci.functions[layout.TESTDEV_BDF] = self.testdev
        self.pio.attach(CONFIG_ADDRESS_PORT, CONFIG_PORTS, self.pci)

    def _load(self, system: System) -> None:
        self._entry, segments = _prepared(system.supported_cpuid.has_1_gib_pages)
        for segment in segments:
            self.ram.write(segment.gpa, segment.data)
        self.vm.set_user_memory_region(0, self.ram.gpa, self.ram.size_bytes, self.ram.hva)

    def _make_seat(self, system: System, index: int, hazardous: bool) -> Seat:
        gpa = layout.mailbox_gpa(index)
        view = self.ram.part(gpa, mailbox.MAILBOX_BYTES)
        requests = Requests(view, gpa, hazardous=hazardous)
        requests.words[mailbox.VCPU >> 2] = index
        vcpu = self.vm.create_vcpu(index)
        vcpu.set_cpuid2(system.supported_cpuid)
        boot.enter_long_mode(vcpu)
        boot.start_at(vcpu, self._entry, layout.stack_top(index), gpa)
        return Seat(vcpu, requests, self.mmio, self.pio)

    def _boot(self, deadline_s: float) -> None:
        deadline = time.monotonic() + deadline_s
        for seat in self._seats:
            seat.run_to_halt(self.boot_exits, 0, deadline, deadline_s)
            seat.requests.check()
        found = dict(zip(mailbox.HEADER_FIELDS, self._header(), strict=True))
        expected = {
            "magic": mailbox.MAGIC,
            "bdf": layout.TESTDEV_BDF,
            "bar0_gpa": self.bar0_gpa,
            "bar0_bytes": BAR0_BYTES,
            "bar1_port": self.bar1_port,
            "bar1_bytes": BAR1_BYTES,
        }
        wrong = {name: found[name] for name, value in expected.items() if found[name] != value}
        if wrong:
            raise GuestMisled(f"the guest found {wrong}, and the machine has {expected}")

    def _header(self) -> tuple[int, ...]:
        return mailbox.HEADER.unpack_from(self._seats[0].requests.view)

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


def _base(base: int | None, name: str) -> int:
    if base is None:
        raise GuestMisled(f"the guest has switched {name} off")
    return base


@lru_cache
def _prepared(pages_1_gib: bool) -> tuple[int, tuple[Segment, ...]]:
    """The entry point, and everything that memory holds before the guest starts."""
    image = load_elf(
        exerciser_image(), low=layout.IMAGE_GPA, high=layout.IMAGE_END, name="the exerciser"
    )
    gdt = Segment(layout.GDT_GPA, boot.GDT)
    return image.entry, (*boot.page_tables(pages_1_gib), gdt, *image.segments)
