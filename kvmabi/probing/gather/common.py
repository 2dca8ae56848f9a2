"""What several sections need of the ABI: names by value, and bit masks by the header's names."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from kvmabi import uapi
from kvmabi.probing.setting import Setting


def constants(prefix: str, setting: Setting) -> Mapping[str, int]:
    """The ABI's integers whose names start so: the headers' where a user names some."""
    names = integers(setting)
    return {name: value for name, value in names.items() if name.startswith(prefix)}


def integers(setting: Setting) -> Mapping[str, int]:
    """The ABI's integers by name, without those that only our overlays have."""
    if setting.facts is None:
        return _built_in()
    values = {name: fact.value for name, fact in setting.facts.constants.items()}
    return {name: value for name, value in values.items() if isinstance(value, int)}


@cache
def _built_in() -> Mapping[str, int]:
    found = {
        name: uapi.OVERLAY_BASE.get(name, value)
        for name, value in vars(uapi).items()
        if isinstance(value, int) and name not in uapi.OVERLAY_ADDED and not name.startswith("_")
    }
    return MappingProxyType(found)


def abi_version(setting: Setting) -> str:
    """The Linux version whose names are known."""
    return setting.headers.version if setting.headers else uapi.ABI_VERSION


def decode_mask(value: int, names: Mapping[str, int]) -> tuple[list[str], int]:
    """(names whose single bit is set in `value`, the bits of it that no name has).

    Names that stand for several bits (masks of all) or for none do not count.
    """
    single = {name: bit for name, bit in names.items() if bit > 0 and bit & (bit - 1) == 0}
    found = [name for name, bit in sorted(single.items(), key=lambda one: one[1]) if value & bit]
    rest = value
    for name in found:
        rest &= ~single[name]
    return found, rest


def errno_name(error: int) -> str:
    """The name of an errno ("EINVAL"); empty for 0."""
    return errno.errorcode.get(error, str(error)) if error else ""
