"""The hot path: what happens between two KVM_RUN calls of a vCPU of the PC.

An exit that Python serves costs the kernel's part, which no loop can change, and this loop's. After
an exit the CPU's caches and predictions are cold, so that a loop costs several times what it takes
by itself: what counts is how little of the interpreter is touched at all. Hence

- KVM_RUN is a plain call of fcntl.ioctl with two arguments, in `Vcpu.run_while_known`.
- An exit like the last one, word by word, is answered like it: one comparison of two memoryviews,
  which makes no object. No field is looked at.
- Another exit is looked up, by the same words, in one dictionary of those met before.
- What is found there is an iterator, whose next step answers the exit. The loop is a ``for`` over
  it, so that a step is no call. For a write that a device only counts it is an itertools.repeat,
  which is no Python code at all; for other ports a generator, which has all that it needs at hand.

A move of a BAR, or the start of a test, empties the dictionary. Exits that are not in it are routed
to their device by the cold path, `Answers.serve`, which may put them there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

from kvmabi import uapi
from kvmabi.kvm import Vcpu
from kvmabi.kvm.vcpu import run_offset
from kvmabi.vmm.bus import Bus, Route

_IO_QUAD: Final = run_offset("io") >> 3
"""Direction, size, port and count in one word of 64 bits; the data's offset is in the next."""
_MMIO_QUAD: Final = run_offset("mmio") >> 3
"""The address; behind it the data, then length and direction in the lowest 40 bits."""
_MMIO_DATA: Final = run_offset("mmio") + 8
_REASON_WORD: Final = run_offset("exit_reason") >> 2
_NUMBERS: Final[dict[int, Literal["B", "H", "I"]]] = {1: "B", 2: "H", 4: "I"}
"""An item of so many bytes, as memoryview.cast calls it."""
_NO_EXIT: Final = (1 << 64) - 1
"""As the first word of a description: no exit has it."""
MOST_KNOWN: Final = 256


Run = Callable[[Mapping[bytes, Iterator[object]], memoryview], None]
"""What `Vcpu.run_while_known` is."""


def serve_exits(
    vcpu: Vcpu,
    mmio: Bus,
    pio: Bus,
    interrupted: Callable[[OSError], None],
    run: Run | None = None,
) -> int:
    """Run the vCPU and let the buses' devices answer it; returns the first reason that is no I/O.

    `interrupted` gets what KVM_RUN fails with; where it returns, the loop goes on. Both buses share
    one lock. What a device raises comes out here. `run` stands for the vCPU's `run_while_known`.
    """
    run = run or vcpu.run_while_known
    answers = Answers(vcpu, mmio, pio)
    try:
        while True:
            try:
                run(answers.known, answers.last)
            except OSError as error:
                interrupted(error)
                continue
            if not answers.serve():
                return vcpu.run_words[_REASON_WORD]
    finally:
        answers.close()


class Answers:
    """How one vCPU's exits are answered; `known` has those that need no second look.

    `last` is the one that is being answered, for `Vcpu.run_while_known`.
    """

    def __init__(self, vcpu: Vcpu, mmio: Bus, pio: Bus) -> None:
        self.known: dict[bytes, Iterator[object]] = {}
        self.last = memoryview(bytearray(vcpu.exit_quads.nbytes)).cast("Q")
        self._vcpu = vcpu
        self._mmio = mmio
        self._pio = pio
        for bus in (mmio, pio):
            bus.on_change.append(self.forget)

    def close(self) -> None:
        """Hear of no more changes."""
        for bus in (self._mmio, self._pio):
            bus.on_change.remove(self.forget)
        self.forget()

    def forget(self) -> None:
        """Have every exit looked at anew; a loop that runs hears of it at its next exit."""
        self.known.clear()
        self.last[0] = _NO_EXIT

    def serve(self) -> bool:
        """Serve the exit that is in `kvm_run`; False where it is no I/O."""
        reason = self._vcpu.run_words[_REASON_WORD]
        if reason == uapi.KVM_EXIT_MMIO:
            with self._mmio.lock:
                self._serve_mmio()
            return True
        if reason == uapi.KVM_EXIT_IO:
            with self._pio.lock:
                self._serve_io()
            return True
        return False

    def _remember(self, answer: Iterator[object]) -> None:
        if len(self.known) >= MOST_KNOWN:
            self.forget()
        self.known[self._vcpu.exit_quads.tobytes()] = answer

    def _serve_mmio(self) -> None:
        quads, run = self._vcpu.run_quads, self._vcpu.run_map
        address, tail = quads[_MMIO_QUAD], quads[_MMIO_QUAD + 2]
        size, is_write = tail & 0xFFFF_FFFF, tail >> 32 & 0xFF
        if is_write:
            hit = self._mmio.hits.get((address, size))
            if hit is not None:
                self._remember(hit)
                next(hit)
            else:
                self._mmio.write(address, run[_MMIO_DATA : _MMIO_DATA + size])
        else:
            run[_MMIO_DATA : _MMIO_DATA + size] = self._mmio.read(address, size)

    def _serve_io(self) -> None:
        quads, run = self._vcpu.run_quads, self._vcpu.run_map
        shape, start = quads[_IO_QUAD], quads[_IO_QUAD + 1]
        size, port, count = shape >> 8 & 0xFF, shape >> 16 & 0xFFFF, shape >> 32
        is_write = shape & 0xFF == uapi.KVM_EXIT_IO_OUT
        if count == 1:
            answer = self._io_answer(port, size, start, is_write)
            self._remember(answer)
            next(answer)
            return
        for at in range(start, start + size * count, size):
            if is_write:
                self._pio.write(port, run[at : at + size])
            else:
                run[at : at + size] = self._pio.read(port, size)

    def _io_answer(self, port: int, size: int, start: int, is_write: int) -> Iterator[object]:
        """What serves such an access again and again; it is routed here, once."""
        route, data = self._pio.find_route(port, size), slice(start, start + size)
        if is_write:
            return self._pio.hits.get((port, size)) or self._take(route, data)
        if route.fill:
            return route.fill(route.offset, self._vcpu.run_bytes[data].cast(_NUMBERS[size]))
        return self._give(route, data, size)

    def _take(self, route: Route, data: slice) -> Iterator[None]:
        run, lock, write, offset = self._vcpu.run_map, self._pio.lock, route.write, route.offset
        while True:
            with lock:
                write(offset, run[data])
            yield

    def _give(self, route: Route, data: slice, size: int) -> Iterator[None]:
        run, lock, read, offset = self._vcpu.run_map, self._pio.lock, route.read, route.offset
        while True:
            with lock:
                run[data] = read(offset, size)
            yield
