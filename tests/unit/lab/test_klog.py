from __future__ import annotations

import pytest

from kvmabi.lab.klog import LogReader, is_finding, last_words, running_case


@pytest.mark.parametrize(
    "text",
    [
        "WARNING: CPU: 0 PID: 77 at virt/kvm/eventfd.c:12 some_function+0x1/0x2 [kvm]",
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "kernel BUG at virt/kvm/eventfd.c:700!",
        "BUG: KASAN: slab-use-after-free in ioeventfd_write+0x10/0x20 [kvm]",
        "WARNING: possible circular locking dependency detected",
        "WARNING: suspicious RCU usage",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "INFO: task kvmabi:42 blocked for more than 120 seconds.",
        "refcount_t: underflow; use-after-free.",
        "unreferenced object 0xffff888003a5c3c0 (size 64):",
        "BUG kmalloc-64 (Not tainted): Object already free",
        "BUG kmalloc-64 (Tainted: G    B             ): Freepointer corrupt",
        "BUG kvm_vcpu (Not tainted): Objects remaining in kvm_vcpu on __kmem_cache_shutdown()",
        "UBSAN: array-index-out-of-bounds in virt/kvm/x.c:1:2",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
        "Kernel panic - not syncing: Fatal exception",
    ],
)
def test_what_is_wrong_is_a_finding(text: str) -> None:
    assert is_finding(text)


@pytest.mark.parametrize(
    "text",
    [
        "kvm_amd: Nested Paging enabled",
        "clocksource: Long readout interval, skipping watchdog check",
        "virtio_console: module verification failed: tainting kernel",
        "kvmabi: case bugs-and-warnings",
        "debug: unmapping init memory",
        "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",  # asked later
    ],
)
def test_other_messages_are_none(text: str) -> None:
    assert not is_finding(text)


def message(text: str) -> bytes:
    return f"4,12,3456,-;{text}\n SUBSYSTEM=x\n".encode()


def test_a_finding_belongs_to_the_case_that_had_started() -> None:
    reader = LogReader()
    for text in (
        "kvmabi: case first",
        "kvmabi: case second",
        "WARNING: CPU: 0 PID: 1 at x",
        "Call Trace:",
        "---[ end trace 0000000000000000 ]---",
        "harmless",
        "kvmabi: case third",
    ):
        reader.kmsg(message(text))
    assert reader.take("first") == []
    (found,) = reader.take("second")
    assert found.lines == [
        "WARNING: CPU: 0 PID: 1 at x",
        "Call Trace:",
        "---[ end trace 0000000000000000 ]---",
    ]
    assert reader.take("second") == []


def test_a_new_case_ends_a_finding() -> None:
    reader = LogReader()
    for text in ("kvmabi: case a", "BUG: x", "kvmabi: case b", "quiet"):
        reader.message(text)
    assert reader.findings[0].lines == ["BUG: x"]


CONSOLE = """\
[    1.0] Linux version 6.1\r
[    9.1] WARNING: CPU: 0 old\r
[    9.2] kvmabi: case one\r
[    9.3] kvmabi: case two\r
[    9.4] something\r
[    9.5][  T77] kernel BUG at virt/kvm/eventfd.c:1!\r
[    9.6] Kernel panic - not syncing\r
"""


def test_last_words_start_at_what_went_wrong_in_the_last_case() -> None:
    assert last_words(CONSOLE) == [
        "kernel BUG at virt/kvm/eventfd.c:1!",
        "Kernel panic - not syncing",
    ]
    assert running_case(CONSOLE) == "two"


def test_without_a_finding_the_last_lines_are_the_last_words() -> None:
    assert last_words("[ 1.0] a\n[ 1.1] b\n") == ["a", "b"]
    assert running_case("[ 1.0] a\n") == ""
