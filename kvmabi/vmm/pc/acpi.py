"""ACPI tables for the PC: RSDP, RSDT, FADT, FACS, MADT, and a DSDT in which nothing is.

Source: ACPI Specification 1.0b, 5.2 (all but the MADT's local APIC flags are as they were then).
"""

from __future__ import annotations

from struct import pack
from typing import Final

from kvmabi.vmm.loader import Segment
from kvmabi.vmm.pc import layout

SIGNATURE_OF_RSDP: Final = b"RSD PTR "
OEM: Final = b"KVMABI"
CREATOR: Final = b"KVMA"
HEADER_BYTES: Final = 36
FADT_BYTES: Final = 116
FACS_BYTES: Final = 64
ALIGNMENT: Final = 64

SCI_IRQ: Final = 9
LOCAL_APIC_ENTRY, IO_APIC_ENTRY, OVERRIDE_ENTRY = 0, 1, 2
PIC_TOO: Final = 1
ENABLED: Final = 1
TIMER_GSI: Final = 2
"""The PIT comes to this pin of the I/O APIC, by KVM's default routes and on real boards."""


def acpi_tables(cpus: int) -> list[Segment]:
    """The tables for so many CPUs, the RSDP first, where a guest looks for it."""
    at = layout.ACPI_GPA + ALIGNMENT
    facs = Segment(at, _facs())
    dsdt = _behind(facs, _table(b"DSDT", b""))
    fadt = _behind(dsdt, _table(b"FACP", _fadt_body(facs.gpa, dsdt.gpa)))
    madt = _behind(fadt, _table(b"APIC", _madt_body(cpus)))
    rsdt = _behind(madt, _table(b"RSDT", pack("<II", fadt.gpa, madt.gpa)))
    rsdp = Segment(layout.ACPI_GPA, _rsdp(rsdt.gpa))
    return [rsdp, facs, dsdt, fadt, madt, rsdt]


def _behind(before: Segment, data: bytes) -> Segment:
    return Segment(-(-before.end // ALIGNMENT) * ALIGNMENT, data)


def _checksum(data: bytes) -> bytes:
    """The byte that makes the sum of all bytes 0."""
    return bytes([-sum(data) & 0xFF])


def _rsdp(rsdt: int) -> bytes:
    tail = OEM + b"\0" + pack("<I", rsdt)
    return SIGNATURE_OF_RSDP + _checksum(SIGNATURE_OF_RSDP + tail) + tail


def _table(signature: bytes, body: bytes) -> bytes:
    head = signature + pack("<IB", HEADER_BYTES + len(body), 1)
    tail = OEM + b"KVMABIPC" + pack("<I4sI", 1, CREATOR, 1) + body
    return head + _checksum(head + tail) + tail


def _facs() -> bytes:
    return (b"FACS" + pack("<I", FACS_BYTES)).ljust(FACS_BYTES, b"\0")


def _fadt_body(facs: int, dsdt: int) -> bytes:
    no_port = 0
    ports = (
        *(layout.PM_EVENT_PORT, no_port, layout.PM_CONTROL_PORT, no_port),
        *(no_port, layout.PM_TIMER_PORT, no_port, no_port),
    )
    lengths = (4, 2, 0, 4, 0, 0)  # of event, control, control 2, timer and two event blocks
    body = pack("<IIBxHIBBBx", facs, dsdt, 1, SCI_IRQ, 0, 0, 0, 0)
    body += pack("<8I", *ports) + pack("<6B", *lengths)
    return body.ljust(FADT_BYTES - HEADER_BYTES, b"\0")


def _madt_body(cpus: int) -> bytes:
    body = pack("<II", layout.LOCAL_APIC_GPA, PIC_TOO)
    for cpu in range(cpus):
        body += pack("<BBBBI", LOCAL_APIC_ENTRY, 8, cpu, cpu, ENABLED)
    body += pack("<BBBxII", IO_APIC_ENTRY, 12, 0, layout.IO_APIC_GPA, 0)
    return body + pack("<BBBBIH", OVERRIDE_ENTRY, 10, 0, 0, TIMER_GSI, 0)
