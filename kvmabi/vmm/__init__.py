"""A small PC over `kvmabi.kvm`: memory, buses, PCI with a test device, and the exerciser's machine.

`ExerciserMachine` boots the shipped guest, and `perform` has it make any batch of accesses and
tells what each did: the exits that reached user space, and what the guest saw.
"""

from kvmabi.vmm.access import Access, Batch, Exit, Outcome
from kvmabi.vmm.machine import ExerciserMachine

__all__ = ["Access", "Batch", "ExerciserMachine", "Exit", "Outcome"]
