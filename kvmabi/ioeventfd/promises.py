"""The numbered promises of KVM_IOEVENTFD to user space.

A disagreement is reported with the number of the promise that it breaks, and with its text.

Source: Documentation/virt/kvm/api.rst (KVM_IOEVENTFD), include/uapi/linux/kvm.h, and the argument
checks of virt/kvm/eventfd.c. They are stated as what a program may rely on, not as an algorithm.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

SIGNAL: Final = 1
EXIT: Final = 2
READ: Final = 3
MATCH: Final = 4
DATAMATCH: Final = 5
SHARING: Final = 6
ARGUMENTS: Final = 7
CLASH: Final = 8
ANY_LENGTH: Final = 9
DEASSIGN: Final = 10
AFTER_DEASSIGN: Final = 11
LIFETIME: Final = 12
CONCURRENCY: Final = 13
SATURATION: Final = 14
ELEMENTS: Final = 15
FAILURE: Final = 16
PV_MMIO: Final = 17
RETURN: Final = 18

PROMISES: Final = MappingProxyType(
    {
        SIGNAL: "A guest write that matches a registration adds exactly 1 to its eventfd and "
        "causes no exit to user space.",
        EXIT: "A write that matches nothing exits to user space with the right address, width, "
        "direction and data, and signals nothing.",
        READ: "A guest read never matches: it exits, and signals nothing.",
        MATCH: "A match needs the same bus, exactly the registered address, the registered width "
        "(unless any-length), and the registered data (if DATAMATCH); nothing else that is "
        "registered changes it.",
        DATAMATCH: "DATAMATCH compares the written value, zero-extended to 64 bits, with all 64 "
        "bits of datamatch.",
        SHARING: "Registrations may share an address if no single write could match two of them; "
        "each write then signals only its own.",
        ARGUMENTS: "Assign gives EINVAL for a bad length, an address range that reaches 2^64, a "
        "flag outside the kernel's mask, any-length with DATAMATCH, or an fd that is no eventfd; "
        "EBADF for a closed fd; the arguments are judged before the fd, the fd before a clash.",
        CLASH: "Assign gives EEXIST where one write could match both the new and an existing "
        "registration, whichever eventfds they use.",
        ANY_LENGTH: "Any-length needs KVM_CAP_IOEVENTFD_ANY_LENGTH (any bus) or "
        "KVM_CAP_IOEVENTFD_NO_LENGTH (mmio); without, EINVAL.",
        DEASSIGN: "Deassign removes the registration with the same bus, eventfd, address, length, "
        "wildcard-ness and datamatch, and nothing else; ENOENT where there is none; a bad fd gives "
        "what it gives at assign.",
        AFTER_DEASSIGN: "Once deassign has returned, no later write signals that eventfd.",
        LIFETIME: "Closing the eventfd's descriptor removes nothing; closing the VM frees all.",
        CONCURRENCY: "No signal is lost under concurrency: the counts over all vCPUs sum to the "
        "writes that matched.",
        SATURATION: "An eventfd at its maximum stays there, polls as an error, and blocks no vCPU.",
        ELEMENTS: "A string write is one write per element; a write that straddles a page reaches "
        "user space as its fragments, and matches only a registration that equals a fragment.",
        FAILURE: "A failed assign or deassign changes nothing.",
        PV_MMIO: "PV_MMIO, where the kernel has it, cannot be combined with PIO or DATAMATCH "
        "(EINVAL), and signals a write of the registered width at exactly that address.",
        RETURN: "Every KVM_IOEVENTFD and every guest access comes to its end, and the guest goes "
        "on at the next instruction.",
    }
)
"""Promise number to its text. Numbers are stable: results and reports name them."""
