"""KVM's ioctls as Python methods: one class a kind of fd, and nothing above the ABI.

This is the only part of kvmabi that calls ioctl. `System` is ``/dev/kvm``, `VM` and `Vcpu` are what
it makes; all three are context managers over one file descriptor. Calls that a caller may want to
see fail come in pairs: a raw one (``try_…``) that returns errno or 0, and a checking one that
raises `IoctlError`.
"""

from kvmabi.kvm.cpuid import Cpuid
from kvmabi.kvm.deadline import Guard
from kvmabi.kvm.host import Host, describe_host
from kvmabi.kvm.system import System
from kvmabi.kvm.vcpu import Vcpu
from kvmabi.kvm.vm import VM

__all__ = ["VM", "Cpuid", "Guard", "Host", "System", "Vcpu", "describe_host"]
