"""CPUID tables, as KVM_GET_SUPPORTED_CPUID gives and KVM_SET_CPUID2 takes them."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack
from typing import TYPE_CHECKING

from kvmabi import uapi

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Not asked of `uapi`, where only x86 has these structures: this module is imported everywhere.
HEADER_BYTES = 8
"""sizeof(struct kvm_cpuid2), without its entries."""
ENTRY_BYTES = 40
"""sizeof(struct kvm_cpuid_entry2)."""

EXTENDED_FEATURES = 0x8000_0001
"""The function whose EDX bit 26 tells 1 GiB pages. Source: AMD64 manual, volume 3, E.4.2."""
EDX_PAGES_1_GIB = 1 << 26


@dataclass(frozen=True, slots=True)
class Cpuid:
    """A CPUID table: `raw` is a `struct kvm_cpuid2` with its entries."""

    raw: bytes

    @classmethod
    def of(cls, entries: Iterable[uapi.kvm_cpuid_entry2]) -> Cpuid:
        """The table of these entries."""
        body = [bytes(entry) for entry in entries]
        count = len(body).to_bytes(4, "little")
        return cls(count.ljust(HEADER_BYTES, b"\0") + b"".join(body))

    def __iter__(self) -> Iterator[uapi.kvm_cpuid_entry2]:
        """Copies of the entries, in the kernel's order."""
        for offset in range(HEADER_BYTES, len(self.raw), ENTRY_BYTES):
            yield uapi.kvm_cpuid_entry2.from_buffer_copy(self.raw, offset)

    def __len__(self) -> int:
        return (len(self.raw) - HEADER_BYTES) // ENTRY_BYTES

    def find(self, function: int, index: int = 0) -> uapi.kvm_cpuid_entry2 | None:
        """The entry of this function and index; None where KVM gives none."""
        wanted = pack("<II", function, index)
        for offset in range(HEADER_BYTES, len(self.raw), ENTRY_BYTES):
            if self.raw.startswith(wanted, offset):
                return uapi.kvm_cpuid_entry2.from_buffer_copy(self.raw, offset)
        return None

    @property
    def has_1_gib_pages(self) -> bool:
        """Whether a guest with this table may use 1 GiB pages."""
        entry = self.find(EXTENDED_FEATURES)
        return entry is not None and bool(entry.edx & EDX_PAGES_1_GIB)
