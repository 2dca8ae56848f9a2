"""KVM_RUN ends at its deadline, whatever the guest does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from kvmabi import uapi
from kvmabi.errors import GuestTimeout
from kvmabi.kvm import System, Vcpu
from kvmabi.vmm import boot, layout
from kvmabi.vmm.memory import Ram

pytestmark = pytest.mark.kvm

JUMP_TO_ITSELF = bytes.fromhex("eb fe")
VMCALL = bytes.fromhex("0f 01 c1 f4")
HALT = bytes.fromhex("f4")
DEADLINE_S = 0.15

MakeVcpu = Callable[[bytes], Vcpu]


@pytest.fixture
def make_vcpu() -> Iterator[MakeVcpu]:
    """Makes vCPUs, each of a VM of its own, that run this code in 64-bit mode."""
    with ExitStack() as stack:
        system = stack.enter_context(System.open())

        def make(code: bytes) -> Vcpu:
            ram = Ram(layout.RAM_GPA, layout.RAM_BYTES)
            stack.callback(ram.close)
            vm = stack.enter_context(system.create_vm())
            for segment in boot.page_tables(system.supported_cpuid.has_1_gib_pages):
                ram.write(segment.gpa, segment.data)
            ram.write(layout.GDT_GPA, boot.GDT)
            ram.write(layout.IMAGE_GPA, code)
            vm.set_user_memory_region(0, ram.gpa, ram.size_bytes, ram.hva)
            vcpu = stack.enter_context(vm.create_vcpu(0))
            vcpu.set_cpuid2(system.supported_cpuid)
            boot.enter_long_mode(vcpu)
            boot.start_at(vcpu, layout.IMAGE_GPA, layout.RAM_END)
            return vcpu

        yield make


def test_an_endless_loop_is_ended_and_its_place_is_told(make_vcpu: MakeVcpu) -> None:
    with pytest.raises(GuestTimeout, match=f"rip {layout.IMAGE_GPA:#x}") as caught:
        make_vcpu(JUMP_TO_ITSELF).run_until_exit(DEADLINE_S)
    assert caught.value.seconds == DEADLINE_S


def test_a_vmcall_ends_in_some_way(make_vcpu: MakeVcpu) -> None:
    """Some back ends never return from it (FACTS.md 3), on others the guest goes on to its halt."""
    vcpu = make_vcpu(VMCALL)
    with suppress(GuestTimeout):
        assert vcpu.run_until_exit(DEADLINE_S) in (uapi.KVM_EXIT_HLT, uapi.KVM_EXIT_SHUTDOWN)


def test_who_halts_in_time_is_not_disturbed(make_vcpu: MakeVcpu) -> None:
    vcpu = make_vcpu(HALT)
    assert vcpu.run_until_exit(DEADLINE_S) == uapi.KVM_EXIT_HLT
    assert vcpu.run.immediate_exit == 0


def test_after_a_timeout_the_vcpu_can_run_again(make_vcpu: MakeVcpu) -> None:
    vcpu = make_vcpu(JUMP_TO_ITSELF + HALT)
    with pytest.raises(GuestTimeout):
        vcpu.run_until_exit(DEADLINE_S)
    boot.start_at(vcpu, layout.IMAGE_GPA + len(JUMP_TO_ITSELF))
    assert vcpu.run_until_exit(DEADLINE_S) == uapi.KVM_EXIT_HLT


def test_a_deadline_that_is_past_before_the_run_ends_it_too(make_vcpu: MakeVcpu) -> None:
    with pytest.raises(GuestTimeout):
        make_vcpu(JUMP_TO_ITSELF).run_until_exit(-1.0)


def test_many_loops_in_many_threads(make_vcpu: MakeVcpu) -> None:
    vcpus = [make_vcpu(JUMP_TO_ITSELF) for _ in range(8)]
    ended: list[GuestTimeout] = []

    def run(vcpu: Vcpu) -> None:
        with pytest.raises(GuestTimeout) as caught:
            vcpu.run_until_exit(DEADLINE_S)
        ended.append(caught.value)

    threads = [threading.Thread(target=run, args=(vcpu,)) for vcpu in vcpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == len(vcpus)


def test_another_signal_does_not_end_the_run(make_vcpu: MakeVcpu) -> None:
    """A signal that is not the deadline's makes KVM_RUN return; the run goes on."""
    import signal

    vcpu = make_vcpu(JUMP_TO_ITSELF)
    seen: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    try:
        with pytest.raises(GuestTimeout):
            vcpu.run_until_exit(DEADLINE_S)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert seen == [signal.SIGALRM]
