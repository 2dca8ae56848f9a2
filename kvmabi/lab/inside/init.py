"""The first process of the kernel under test: loads modules, runs one verb, sends what comes out.

Only what stands in the initramfs is there: Python, kvmabi and the modules, no shell and no tools.
Every message of the kernel goes out as well, in its place among the records.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import selectors
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from kvmabi.errors import KvmAbiError
from kvmabi.lab.frames import Kind, encode
from kvmabi.lab.inside.files import unpack
from kvmabi.lab.inside.leaks import Kmemleak, as_messages
from kvmabi.lab.inside.port import Port, Trouble, open_port
from kvmabi.lab.inside.swap import swap
from kvmabi.lab.inside.tracepoints import Counters
from kvmabi.lab.klog import BOOTED

SYS_FINIT_MODULE: Final = 313
"""Of x86-64. Source: arch/x86/entry/syscalls/syscall_64.tbl."""
MOUNTS: Final = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),  # noqa: S108 (a file system of this kernel's own)
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
)
MODULES: Final = Path("/modules")
ORDER: Final = "order.json"
HARNESS_FAILED: Final = 4
KMSG: Final = "/dev/kmsg"
MESSAGE_BYTES: Final = 8192
READ_BYTES: Final = 1 << 16
WAIT_S: Final = 0.2
"""After how long without a word the verb is looked after."""
COLLECT_EVERY: Final = 100_000
"""So many new objects before Python looks for garbage among them: by its own figure, 700, that is
a third of the time in which an emulator makes the list of cases, none of which is garbage."""
PRELOADED: Final = ("kvmabi.cli", "kvmabi.matrix", "kvmabi.results.recorder", "kvmabi.vmm")
"""What verbs import; the libraries among them (rich) take as long as all else."""

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Be the init process; never returns."""
    port: Port | None = None
    gc.set_threshold(COLLECT_EVERY)
    try:
        mount_all()
        say_booted()
        problems = load_modules()
        port = open_port(Path("/proc/cmdline").read_text())
        if port.is_told_when_ready:
            prepare()
        send(port, Kind.READY, json.dumps(about(problems, port)).encode())
        job = port.read_job()
        time.clock_settime(time.CLOCK_REALTIME, job["now"])
        swap_modules(job.get("modules", {}))
        unpack(job.get("files", {}))
        ended = Runner(port, job).run()
        send(port, Kind.EXIT, json.dumps(ended).encode())
    except Trouble as error:
        send(port, Kind.TROUBLE, str(error).encode())
    except BaseException:  # noqa: BLE001 (init must not end: the kernel would panic)
        send(port, Kind.ERR, traceback.format_exc().encode())
        send(port, Kind.EXIT, json.dumps({"exit": HARNESS_FAILED, "tainted": taint()}).encode())
    while True:  # the host ends the machine
        time.sleep(3600)


def mount_all() -> None:
    """Mount what Python and KVM need; debugfs where the kernel has it."""
    for kind, place in MOUNTS:
        with suppress(OSError):
            Path(place).mkdir(parents=True, exist_ok=True)
        _libc.mount(kind.encode(), place.encode(), kind.encode(), 0, None)
    with suppress(OSError):
        Path("/proc/sys/kernel/printk").write_text("8 4 1 8")  # the console gets all that comes


def say_booted() -> None:
    """Part what the kernel's log says of its boot from what it says of KVM."""
    with suppress(OSError):
        Path("/dev/kmsg").write_text(f"{BOOTED}\n")


def load_modules() -> list[str]:
    """Load the modules in the order that the host worked out; return what went wrong."""
    problems = []
    for name, parameters in json.loads((MODULES / ORDER).read_text()):
        with (MODULES / f"{name}.ko").open("rb") as file:
            if _libc.syscall(SYS_FINIT_MODULE, file.fileno(), parameters.encode(), 0):
                reason = os.strerror(ctypes.get_errno())
                problems.append(f"the module {name} does not load: {reason}")
    return problems


def swap_modules(packed: Mapping[str, str]) -> None:
    """Exchange modules for those that the job brings; Trouble where they do not load."""
    if not packed:
        return
    from kvmabi.ioeventfd.detect import btf_flags  # noqa: PLC0415 (see prepare)

    order = [(name, parameters) for name, parameters in json.loads((MODULES / ORDER).read_text())]
    files = {name: (MODULES / f"{name}.ko").read_bytes() for name, _ in order}
    if trouble := swap(order, packed, files):
        raise Trouble(trouble)
    btf_flags.cache_clear()  # another KVM may know other flags


def prepare() -> None:
    """Import, and work out, what any job will need, so that a snapshot of this moment has it."""
    for name in PRELOADED:
        __import__(name)
    from kvmabi.abi import btf  # noqa: PLC0415 (the host imports this module without all that)
    from kvmabi.ioeventfd.cases import all_cases  # noqa: PLC0415
    from kvmabi.ioeventfd.detect import btf_flags  # noqa: PLC0415

    all_cases()
    with suppress(KvmAbiError):  # the verb will say so
        btf_flags(btf.FOLDER)
    gc.freeze()  # what the verb's process shares with this one is not copied for a collection


def about(problems: Sequence[str], port: Port) -> dict[str, Any]:
    """Return what the host wants to know of a kernel that came up."""
    uname = os.uname()
    return {
        "release": uname.release,
        "version": uname.version,
        "kvm": Path("/dev/kvm").exists(),
        "problems": list(problems),
        "carrier": port.about,
        "tainted": taint(),
    }


def taint() -> int:
    """Return the kernel's taint bits."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/tainted").read_text())
    return 0


def send(port: Port | None, kind: Kind, payload: bytes) -> None:
    """Send one frame; without a port, to the console, which is the log."""
    if port is None:
        sys.stderr.write(f"kvmabi: {payload.decode(errors='replace')}\n")
        return
    port.send(encode(kind, payload))


class Runner:
    """Runs one verb in a process of its own, and passes on all that it and the kernel say."""

    def __init__(self, port: Port, job: Mapping[str, Any]) -> None:
        self._port = port
        self._job = job
        self._selector = selectors.DefaultSelector()
        self._kmsg = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._overrun = 0

    def run(self) -> dict[str, Any]:
        """Return how the verb ended ("exit"), the taint bits around it, and what was "traced".

        "log_overrun" is how often messages of the kernel's were gone before they were read.
        """
        before = taint()
        leaks = Kmemleak()
        leaks.start()
        counters = Counters(self._job.get("trace", ()))
        ends = {kind: os.pipe() for kind in (Kind.OUT, Kind.ERR, Kind.RECORDS)}
        child = os.fork()
        if child == 0:
            self._be_the_verb({kind: write for kind, (_, write) in ends.items()})
        for kind, (read, write) in ends.items():
            os.close(write)
            os.set_blocking(read, False)
            self._selector.register(read, selectors.EVENT_READ, kind)
        self._selector.register(self._kmsg, selectors.EVENT_READ, Kind.LOG)
        status = self._pass_on_until_it_ends(child)
        traced = counters.counts()
        self._tell(leaks)
        code = os.waitstatus_to_exitcode(status)
        tainted = {"tainted_before": before, "tainted": taint()}
        return {"exit": code, **tainted, "traced": traced, "log_overrun": self._overrun}

    def _tell(self, leaks: Kmemleak) -> None:
        lines = leaks.report()
        self._log()  # the kernel's own word about them first
        if lines:
            send(self._port, Kind.LOG, as_messages(lines))
        if leaks.about:
            send(self._port, Kind.ERR, f"kvmabi lab: {leaks.about}\n".encode())

    def _pass_on_until_it_ends(self, child: int) -> int:
        """Pass on what the verb says, and return its wait status.

        A worker of its that is stuck in the kernel may hold its pipes open for longer.
        """
        while True:
            ended, status = os.waitpid(child, 0 if self._is_silent() else os.WNOHANG)
            self._pass_on(0 if ended else WAIT_S)
            if ended:
                while self._pass_on(0):
                    pass
                return status

    def _is_silent(self) -> bool:
        """Return whether nobody holds any of the verb's pipes open."""
        return len(self._selector.get_map()) == 1  # the log's

    def _pass_on(self, wait_s: float) -> bool:
        """Pass on what there is, and return whether there was any of the verb's."""
        any_of_it = False
        for key, _ in self._selector.select(wait_s):
            # the log first: what the kernel said stands before the record of the case
            self._log()
            if key.data is Kind.LOG:
                continue
            any_of_it = True
            data = os.read(key.fd, READ_BYTES)
            if data:
                send(self._port, key.data, data)
            else:
                self._selector.unregister(key.fd)
        return any_of_it

    def _log(self) -> None:
        messages = []
        while True:
            try:
                messages.append(os.read(self._kmsg, MESSAGE_BYTES))
            except BlockingIOError:
                break
            except BrokenPipeError:  # messages were overwritten before they were read
                self._overrun += 1
        if messages:
            send(self._port, Kind.LOG, b"".join(messages))

    def _be_the_verb(self, ends: Mapping[Kind, int]) -> None:
        status = HARNESS_FAILED
        try:
            os.dup2(ends[Kind.OUT], 1)
            os.dup2(ends[Kind.ERR], 2)
            os.set_inheritable(ends[Kind.RECORDS], True)
            records = f"/proc/self/fd/{ends[Kind.RECORDS]}"
            arguments = [records if one == "@records" else one for one in self._job["arguments"]]
            os.environ.update(self._job["environment"])
            status = _verb_main()(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else HARNESS_FAILED
        except BaseException:  # noqa: BLE001 (told on standard error)
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def _verb_main() -> Callable[[Sequence[str]], int]:
    cli = __import__("kvmabi.cli", fromlist=["main"])
    entry: Callable[[Sequence[str]], int] = cli.main
    return entry
