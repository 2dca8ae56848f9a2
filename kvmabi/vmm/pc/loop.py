"""The hot path: what happens between two KVM_RUN calls of a vCPU of the PC.

An exit that a device serves in Python costs the kernel's part, which no loop can change, and this
loop's. So the loop is one function with everything in local variables, and an access is routed
once: KVM describes it in one or two words of `kvm_run`, which serve as the key under which the
route (the device's bound methods, and the offset to give them) is found from then on. A move of a
BAR clears the routes. What made a difference, by the profile: KVM_RUN as a `functools.partial`
without an argument (with one, even 0, fcntl.ioctl fails to take it as a buffer, twice, first);
words and slices of the mapping rather than ctypes or struct; no method call of our own but the
device's. All else (strings, signals, odd exits) takes the cold paths below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kvmabi import uapi
from kvmabi.kvm import Vcpu
from kvmabi.kvm.vcpu import run_offset
from kvmabi.vmm.bus import Bus

_REASON_WORD: Final = run_offset("exit_reason") >> 2
_IO_QUAD: Final = run_offset("io") >> 3
"""Direction, size, port and count in one word of 64 bits; the data's offset is in the next."""
_MMIO_QUAD: Final = run_offset("mmio") >> 3
"""The address; behind it the data, then length and direction."""
_MMIO_DATA: Final = run_offset("mmio") + 8
_MMIO_TAIL: Final = 0xFF_FFFF_FFFF
_MMIO_WRITE: Final = 1 << 32
_IO_COUNT_SHIFT: Final = 32
_EXIT_IO: Final = uapi.KVM_EXIT_IO
_EXIT_MMIO: Final = uapi.KVM_EXIT_MMIO


def serve_exits(vcpu: Vcpu, mmio: Bus, pio: Bus, interrupted: Callable[[OSError], None]) -> int:
    """Run the vCPU and let the buses' devices answer it; returns the first reason that is no I/O.

    `interrupted` gets what KVM_RUN fails with; where it returns, the loop goes on. Both buses share
    one lock. What a device raises comes out here.
    """
    enter, words, quads, run = vcpu.enter, vcpu.run_words, vcpu.run_quads, vcpu.run_map
    lock, io_routes, mmio_routes = pio.lock, pio.routes, mmio.routes
    while True:
        try:
            enter()
        except OSError as error:
            interrupted(error)
            continue
        reason = words[_REASON_WORD]
        if reason == _EXIT_IO:
            key = quads[_IO_QUAD]
            start = quads[_IO_QUAD + 1]
            with lock:
                route = io_routes.get(key)
                if route is None:
                    if key >> _IO_COUNT_SHIFT != 1:
                        _serve_string(vcpu, pio, key, start)
                        continue
                    route = io_routes[key] = pio.find_route(key >> 16 & 0xFFFF, key >> 8 & 0xFF)
                read, write, offset = route
                size = key >> 8 & 0xFF
                if key & 1:
                    write(offset, run[start : start + size])
                else:
                    run[start : start + size] = read(offset, size)
        elif reason == _EXIT_MMIO:
            address = quads[_MMIO_QUAD]
            tail = quads[_MMIO_QUAD + 2] & _MMIO_TAIL
            size = tail & 0xFF
            with lock:
                route = mmio_routes.get((address, tail))
                if route is None:
                    route = mmio_routes[address, tail] = mmio.find_route(address, size)
                read, write, offset = route
                if tail & _MMIO_WRITE:
                    write(offset, run[_MMIO_DATA : _MMIO_DATA + size])
                else:
                    run[_MMIO_DATA : _MMIO_DATA + size] = read(offset, size)
        else:
            return reason


def _serve_string(vcpu: Vcpu, pio: Bus, key: int, start: int) -> None:
    """Serve an I/O exit of several elements."""
    size, port, count = key >> 8 & 0xFF, key >> 16 & 0xFFFF, key >> _IO_COUNT_SHIFT
    for at in range(start, start + size * count, size):
        if key & 1:
            pio.write(port, vcpu.run_map[at : at + size])
        else:
            vcpu.run_map[at : at + size] = pio.read(port, size)
