"""One boot with one job: frames as they come, until the verb has ended or the kernel is lost."""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from kvmabi.errors import KernelLost, LabUnavailable
from kvmabi.lab import klog
from kvmabi.lab.backends import SILENCE_S
from kvmabi.lab.frames import Decoder, Frame, Kind
from kvmabi.lab.inside import files
from kvmabi.lab.inside.port import NO_IO_PORT, NO_VIRTIO, UNKNOWN
from kvmabi.lab.machine.emulator import Emulator, Line

RESTORE_DEADLINE_S: Final = 60.0
UNFIT: Final = MappingProxyType(
    {
        "Unable to mount root fs": "it cannot take an initramfs (CONFIG_BLK_DEV_INITRD)",
        "No working init found": "it cannot run Python's program or script "
        "(CONFIG_BINFMT_ELF, CONFIG_BINFMT_SCRIPT)",
        NO_VIRTIO: "it has no virtio_pci or virtio_console, which carry the "
        "results (CONFIG_VIRTIO_PCI, CONFIG_VIRTIO_CONSOLE)",
        NO_IO_PORT: "it lets no program use I/O ports, one of which carries the results "
        "(CONFIG_X86_IOPL_IOPERM or CONFIG_DEVPORT)",
        UNKNOWN: "it did not get its command line",
    }
)
"""What a kernel's console says before it is ready, and what that means."""
MUTE: Final = (NO_VIRTIO, NO_IO_PORT, UNKNOWN)
"""After these the kernel is up, and will say nothing more."""
NOT_OVER: Final = "the run was not over after"
"""How a loss is told that only says that the time was too short."""
TICK_S: Final = 0.2
READ_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Job:
    """What the kernel under test is to run; "@records" among the arguments is the result file.

    `trace` names the tracepoints ("kvm:kvm_fast_mmio") whose firing is to be counted meanwhile.
    `modules` are to take the place of those that were loaded, by name; `files` are to be there.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    trace: Sequence[str] = ()
    now: float | None = None
    """What the kernel's clock is set to, in seconds since 1970; None: to ours."""
    modules: Mapping[str, bytes] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def line(self) -> bytes:
        """Return the job as it is sent."""
        fields = {
            "arguments": list(self.arguments),
            "environment": dict(self.environment),
            "trace": list(self.trace),
            "modules": files.pack(self.modules),
            "files": files.pack(self.files),
            # a snapshot's clock stands where it was taken
            "now": time.time() if self.now is None else self.now,
        }
        return json.dumps(fields).encode() + b"\n"


class Session:
    """Talks to a kernel under test. `console` is all that it has printed.

    A context manager that ends the emulator; `log` is a file that gets the console as it comes.
    `restored` is what the kernel told when it was ready, where it comes from a snapshot;
    `when_ready` is called with that, before the job is sent, where it has booted, for which it has
    `boot_deadline_s`; after `silence_s` without a frame it counts as hung.
    """

    def __init__(
        self,
        emulator: Emulator,
        job: Job,
        *,
        deadline_s: float,
        boot_deadline_s: float,
        silence_s: float = SILENCE_S,
        log: Path | None = None,
        restored: Mapping[str, Any] | None = None,
        when_ready: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._emulator = emulator
        self._job = job
        self._deadline_s = deadline_s
        self._boot_deadline_s = boot_deadline_s
        self._silence_s = silence_s
        self._log = log.open("wb") if log else None
        self._decoder = Decoder()
        self._console = bytearray()
        self._started = self._heard = time.monotonic()
        self._ready = False
        self._restored = restored
        self.about: Mapping[str, Any] = restored or {}
        """What the kernel told of itself when it was ready."""
        self._when_ready = when_ready
        self.heard_anything = False
        self._lost_before = 0
        self._unsent = memoryview(b"")
        self._selector = selectors.DefaultSelector()
        self._selector.register(emulator.port, selectors.EVENT_READ, self._from_port)
        self._selector.register(emulator.console, selectors.EVENT_READ, self._from_console)

    @property
    def console(self) -> str:
        """All that the kernel has printed."""
        return self._console.decode("utf-8", "replace")

    @property
    def damaged_bytes(self) -> int:
        """How much came from the kernel, once it was ready, that made no whole frame."""
        return self._decoder.lost_bytes - self._lost_before

    def frames(self) -> Iterator[Frame | None]:
        """Yield frames until the last; None at least every TICK_S.

        Raises KernelLost where the kernel crashes, hangs or does not come up, with its last words,
        and LabUnavailable where it came up without what the verb needs.
        """
        if self._restored is not None:
            self._send_job()
        while True:
            for key, ready in self._selector.select(TICK_S):
                if ready & selectors.EVENT_WRITE:
                    self._send()
                if not ready & selectors.EVENT_READ:
                    continue
                for frame in key.data(key.fileobj):
                    if self._take(frame):
                        yield frame
                    if frame.kind is Kind.EXIT:
                        return
            yield None
            self._check()

    def _take(self, frame: Frame) -> bool:
        """Act on what is meant for the session; return whether the frame is to be passed on."""
        self._heard = time.monotonic()
        self.heard_anything = True
        if frame.kind is Kind.TROUBLE:
            raise LabUnavailable(frame.payload.decode(errors="replace").strip())
        if frame.kind is not Kind.READY:
            return True
        if self._ready:
            raise self._lost("it booted anew")
        self._lost_before = self._decoder.lost_bytes  # what the emulator said of itself
        self.about = about = json.loads(frame.payload)
        if about["problems"] or not about["kvm"]:
            why = "; ".join(about["problems"]) or "nobody knows why"
            without = "" if about["kvm"] else " without /dev/kvm"
            raise LabUnavailable(f"Linux {about['release']} came up{without}: {why}")
        if self._when_ready is not None:
            self._when_ready(about)
        self._send_job()
        return False

    def _send_job(self) -> None:
        self._ready = True
        self._heard = time.monotonic()
        if self._emulator.takes_jobs:
            self._unsent = memoryview(self._job.line())
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(self._emulator.port, both, self._from_port)

    def _send(self) -> None:
        """Send what of the job the machine takes now: a changed module is more than a line's."""
        try:
            self._unsent = self._unsent[os.write(self._emulator.port.fileno(), self._unsent) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):  # it went down, which reading will tell
            self._unsent = memoryview(b"")
        if not self._unsent:
            port = self._emulator.port
            self._selector.modify(port, selectors.EVENT_READ, self._from_port)

    def _from_port(self, port: Line) -> Iterator[Frame]:
        return self._decoder.feed(self._receive(port))

    def _from_console(self, console: Line) -> Iterator[Frame]:
        data = self._receive(console)
        self._console += data
        if self._log:
            self._log.write(data)
            self._log.flush()
        return iter(())

    def _receive(self, line: Line) -> bytes:
        try:
            data = os.read(line.fileno(), READ_BYTES)
        except (BlockingIOError, ConnectionResetError):
            return b""
        if not data:
            self._selector.unregister(line)
        return data

    def _check(self) -> None:
        now = time.monotonic()
        if not self._selector.get_map():
            time.sleep(TICK_S)  # both lines are closed: the process ends at any moment
        ended = self._emulator.how_it_ended()
        if ended and not self._selector.get_map():
            raise self._lost(f"the machine went down (emulator: {ended})")
        if now - self._started > self._deadline_s:
            raise self._lost(f"{NOT_OVER} {self._deadline_s:.0f} s")
        if not self._ready and (now - self._started > self._boot_deadline_s or self._is_mute()):
            mute = (
                "" if self._console else " (has it a serial console, CONFIG_SERIAL_8250_CONSOLE?)"
            )
            raise self._lost(f"it was not up after {now - self._started:.0f} s{mute}")
        if self._restored is not None and not self.heard_anything:
            if now - self._started > RESTORE_DEADLINE_S:
                raise self._lost(f"the snapshot did not answer for {RESTORE_DEADLINE_S:.0f} s")
        elif self._ready and now - self._heard > self._silence_s:
            raise self._lost(f"nothing came from it for {self._silence_s:.0f} s")

    def _is_mute(self) -> bool:
        console = self.console
        return any(text in console for text in MUTE)

    def _lost(self, why: str) -> KernelLost | LabUnavailable:
        for text, reason in () if self._ready else UNFIT.items():
            if text in self.console:
                return LabUnavailable(f"this kernel cannot be tested: {reason}")
        words = "\n  ".join(klog.last_words(self.console)) or "(none)"
        text = f"{why}; the kernel's last words:\n  {words}"
        return KernelLost(text, was_up=self._ready)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._emulator.close()
        self._selector.close()
        if self._log:
            self._log.close()
