"""kvmabi: a kernel's own ``linux/kvm.h`` as Python, and a check that KVM keeps its promises.

The parts, from the ground up, are `kvmabi.header` (text to syntax), `kvmabi.abi` (syntax to
layouts, constants and ioctl numbers), `kvmabi.uapi` (the generated modules), `kvmabi.kvm` (the
ioctls), `kvmabi.vmm` (a small PC with a PCI test device), `kvmabi.ioeventfd` (contract, cases and
runner) and `kvmabi.results`. The verbs (`kvmabi.matrix` and its kin) stand on top.
"""

__version__ = "0.1.0"
