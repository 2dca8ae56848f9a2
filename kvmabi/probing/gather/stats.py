"""The binary statistics of a fresh VM and vCPU: names, kinds, units and values."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Final

from kvmabi import uapi
from kvmabi.errors import AbiError
from kvmabi.kvm import System
from kvmabi.kvm.fd import KvmFd
from kvmabi.probing.report import Json
from kvmabi.probing.setting import Setting, Skip

_Pread = Callable[[int, int], bytes]
MOST_DESCRIPTORS: Final = 4096
MOST_NAME_BYTES: Final = 4096
MOST_VALUES: Final = 1 << 16
_KINDS: Final = {
    uapi.KVM_STATS_TYPE_CUMULATIVE: "cumulative",
    uapi.KVM_STATS_TYPE_INSTANT: "instant",
    uapi.KVM_STATS_TYPE_PEAK: "peak",
    uapi.KVM_STATS_TYPE_LINEAR_HIST: "linear histogram",
    uapi.KVM_STATS_TYPE_LOG_HIST: "logarithmic histogram",
}
_UNITS: Final = {
    uapi.KVM_STATS_UNIT_NONE: "",
    uapi.KVM_STATS_UNIT_BYTES: "bytes",
    uapi.KVM_STATS_UNIT_SECONDS: "seconds",
    uapi.KVM_STATS_UNIT_CYCLES: "cycles",
    uapi.KVM_STATS_UNIT_BOOLEAN: "boolean",
}


def gather(setting: Setting) -> Json:
    """The section's data: `vm` and `vcpu`, each with an id and a list of statistics."""
    with System.open(setting.device) as system:
        if not system.check_extension(uapi.KVM_CAP_BINARY_STATS_FD):
            raise Skip("this kernel has no binary statistics (KVM_CAP_BINARY_STATS_FD, Linux 5.14)")
        with system.create_vm() as vm, vm.create_vcpu(0) as vcpu:
            return {"vm": _read(vm), "vcpu": _read(vcpu)}


def _read(owner: KvmFd) -> Json:
    fd = owner.call("KVM_GET_STATS_FD")
    try:
        return parse(lambda size, offset: os.pread(fd, size, offset))
    finally:
        os.close(fd)


def parse(pread: _Pread) -> Json:
    """The statistics behind `pread(size, offset)`; AbiError where they contradict themselves."""
    header_bytes = ctypes.sizeof(uapi.kvm_stats_header)
    header = uapi.kvm_stats_header.from_buffer_copy(_whole(pread, header_bytes, 0))
    if header.num_desc > MOST_DESCRIPTORS or header.name_size > MOST_NAME_BYTES:
        raise AbiError(f"{header.num_desc} statistics with {header.name_size} bytes of name each")
    fixed = ctypes.sizeof(uapi.kvm_stats_desc)
    each = fixed + header.name_size
    table = _whole(pread, each * header.num_desc, header.desc_offset)
    found = []
    for start in range(0, len(table), each):
        descriptor = uapi.kvm_stats_desc.from_buffer_copy(table[start : start + fixed])
        name = table[start + fixed : start + each].split(b"\0", 1)[0].decode("ascii", "replace")
        found.append(_statistic(pread, header.data_offset, descriptor, name))
    identity = _whole(pread, header.name_size, header.id_offset) if header.name_size else b""
    return {"id": identity.split(b"\0", 1)[0].decode("ascii", "replace"), "statistics": found}


def _statistic(pread: _Pread, data_offset: int, descriptor: uapi.kvm_stats_desc, name: str) -> Json:
    if not 0 < descriptor.size <= MOST_VALUES:
        raise AbiError(f"the statistic {name} has {descriptor.size} values")
    raw = _whole(pread, 8 * descriptor.size, data_offset + descriptor.offset)
    kind = descriptor.flags & uapi.KVM_STATS_TYPE_MASK
    unit = descriptor.flags & uapi.KVM_STATS_UNIT_MASK
    base = 2 if descriptor.flags & uapi.KVM_STATS_BASE_MASK == uapi.KVM_STATS_BASE_POW2 else 10
    return {
        "name": name,
        "kind": _KINDS.get(kind, f"kind {kind}"),
        "unit": _UNITS.get(unit, f"unit {unit >> uapi.KVM_STATS_UNIT_SHIFT}"),
        "scale": f"{base}^{descriptor.exponent}" if descriptor.exponent else "",
        "bucket": descriptor.bucket_size,
        "values": list(memoryview(raw).cast("Q")),
    }


def _whole(pread: _Pread, size: int, offset: int) -> bytes:
    data = pread(size, offset)
    if len(data) != size:
        raise AbiError(f"the statistics end at {offset + len(data)}, before {offset + size}")
    return data
