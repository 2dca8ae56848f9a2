"""A PC for guests that others wrote: multiboot images with a serial port, ACPI and pci-testdev.

`PcMachine` boots an image and `run` gives the status that it leaves by; each device is a module of
its own that knows nothing of the others.
"""

from kvmabi.vmm.pc.machine import PcConfig, PcMachine

__all__ = ["PcConfig", "PcMachine"]
