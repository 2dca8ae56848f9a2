"""What a name of the ABI says about itself: reserved bytes, counts, masks, and its family."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from difflib import SequenceMatcher
from typing import Final

_PADDING: Final = re.compile(r"_*(?:pad|padding|reserved|rsvd|resv|unused|dummy)_?\d*|__?pad\w*")
_COUNT: Final = re.compile(r"\w*(?:_|^)(?:MAX|NR|NUM|COUNT|LAST|END|NRS)(?:_\w*)?|\w*_max(?:_\w*)?")
_MASK: Final = re.compile(r"(\w+?)(?:_FLAGS?)?(?:_F)?_VALID_(?:FLAGS?_)?(?:MASK|BITS|MODE|FLAGS)"
                          r"|(\w+_F)_MASK")  # fmt: skip
_NUMBERED: Final = (
    "KVM_CAP_", "KVM_EXIT_", "KVM_SYSTEM_EVENT_", "KVM_MP_STATE_", "KVM_IRQ_ROUTING_",
    "KVM_DEV_TYPE_", "KVM_INTERNAL_ERROR_",
)  # fmt: skip


def kind_of(name: str, kind: str) -> str:
    """What reports call a constant."""
    return "capability" if name.startswith("KVM_CAP_") else kind


def is_padding(path: str) -> bool:
    """Whether a field's name says that its bytes are reserved."""
    return _PADDING.fullmatch(path.rpartition(".")[2]) is not None


def is_count(name: str) -> bool:
    """Whether a constant only counts others, or is an upper bound."""
    return _COUNT.fullmatch(name) is not None


def mask_stem(name: str) -> str | None:
    """What the flags that a mask is for start with; None if the name is no mask of valid flags."""
    match = _MASK.fullmatch(name)
    return (match.group(1) or match.group(2)) if match else None


def number_family(name: str, known: Container[str]) -> str | None:
    """The numbering that a name belongs to, in which every number has one meaning; None if none.

    KVM_EXIT_IO_OUT is a value of KVM_EXIT_IO, and no exit reason; so it has a family of its own.
    """
    for prefix in _NUMBERED:
        if name.startswith(prefix):
            break
    else:
        head, flag, _ = name.partition("_FLAG_")
        return head + flag if flag else None
    if is_count(name):
        return None
    outer = name.rpartition("_")[0]
    while prefix != "KVM_CAP_" and len(outer) > len(prefix):
        if outer in known:
            return f"{outer}_"
        outer = outer.rpartition("_")[0]
    return prefix


def most_alike(name: str, others: Iterable[str]) -> str | None:
    """The one of `others` that could be `name` spelled anew; None if none is alike enough."""
    scored = [(SequenceMatcher(None, name, other, autojunk=False).ratio(), other)
              for other in others]  # fmt: skip
    ratio, best = max(scored, default=(0.0, ""))
    return best if ratio >= 0.7 else None
