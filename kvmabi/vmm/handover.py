"""KVM_RUN from two threads in turn: what one of them began, the other one ends.

An exit to user space in the middle of an instruction leaves the rest of it to the next KVM_RUN,
which any thread may make. KVM must then find all that it needs in the vCPU, and nothing on the
stack of the thread that had been there before.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kvmabi.kvm import Vcpu


@contextmanager
def handed_over(vcpu: Vcpu) -> Iterator[Callable[[], int]]:
    """A `try_run` of this vCPU that changes threads at each call.

    Both threads stay alive to the end of the block: a kernel that reads the stack of the one that
    is not running reads wrong bytes, and does not fault.
    """
    elsewhere = cycle((False, True))

    def run_here() -> int:
        vcpu.guard.arm(vcpu.guard.deadline)
        return vcpu.try_run()

    with ThreadPoolExecutor(max_workers=1) as other:

        def try_run() -> int:
            return other.submit(run_here).result() if next(elsewhere) else run_here()

        yield try_run
