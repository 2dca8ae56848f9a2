"""The limit: the same machine, with a loop in C between two KVM_RUN calls.

The loop counts writes of one byte to one address and one port, and leaves all else to Python. It is
compiled where a compiler is there, and shows what no Python can be better than.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kvmabi import uapi
from kvmabi.kvm import Vcpu
from kvmabi.kvm.vcpu import run_offset
from kvmabi.vmm.bus import Bus
from kvmabi.vmm.pc import layout
from kvmabi.vmm.pc.loop import serve_exits
from kvmabi.vmm.pc.machine import Loop
from kvmabi.vmm.testdev import IO_TESTS_AT, MEMORY_TESTS_AT

COMPILERS: Final = ("cc", "gcc", "clang")
ROWS: Final = ("mmio-no-eventfd:pci-mem", "portio-no-eventfd:pci-io")
"""The rows that the C loop serves by itself."""

SOURCE: Final = f"""
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

int serve(int fd, const char *run, uint64_t gpa, uint64_t out, uint64_t *counts)
{{
    for (;;) {{
        uint64_t first;
        uint32_t reason;

        if (ioctl(fd, {uapi.KVM_RUN}ul, 0) < 0)
            return errno;
        memcpy(&reason, run + {run_offset("exit_reason")}, 4);
        memcpy(&first, run + {run_offset("io")}, 8);
        if (reason == {uapi.KVM_EXIT_MMIO} && first == gpa && run[{run_offset("mmio") + 20}])
            counts[0]++;
        else if (reason == {uapi.KVM_EXIT_IO} && first == out)
            counts[1]++;
        else
            return 0;
    }}
}}
"""


def make_c_loop() -> tuple[Loop, Callable[[], tuple[int, int]]] | None:
    """A loop for `PcMachine.run`, and what it has counted on both BARs; None without a compiler."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), *COMPILERS))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory(prefix="kvmabi-cloop-") as scratch:
        library = Path(scratch) / "loop.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
        made = subprocess.run(command, input=SOURCE.encode(), capture_output=True, check=False)
        if made.returncode:
            return None
        serve = ctypes.CDLL(str(library)).serve
    counts = (ctypes.c_uint64 * 2)()

    def loop(vcpu: Vcpu, mmio: Bus, pio: Bus, interrupted: Callable[[OSError], None]) -> int:
        arguments = _arguments(vcpu)

        def run(*_: object) -> None:  # it needs no exits that others know
            code = serve(*arguments, counts)
            if code:
                raise OSError(code, os.strerror(code))

        return serve_exits(vcpu, mmio, pio, interrupted, run)

    return loop, lambda: (counts[0], counts[1])


def _arguments(vcpu: Vcpu) -> tuple[object, ...]:
    """What the loop in C takes before the counts: the fd, `kvm_run`, and the two places."""
    run = ctypes.addressof(ctypes.c_char.from_buffer(vcpu.run_map))
    port = layout.BAR1_PORT + IO_TESTS_AT
    out = uapi.KVM_EXIT_IO_OUT | 1 << 8 | port << 16 | 1 << 32
    return (
        *(ctypes.c_int(vcpu.fd), ctypes.c_void_p(run)),
        *(ctypes.c_uint64(layout.BAR0_GPA + MEMORY_TESTS_AT), ctypes.c_uint64(out)),
    )
