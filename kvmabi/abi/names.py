"""Names of C that cannot be names in a Python module, which are then opaque."""

from __future__ import annotations

import dataclasses
import keyword
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from kvmabi.abi.model import Abi, Enumerator, FunctionMacro, Ioctl, Macro, Opaque
from kvmabi.errors import AbiError

_USED: Final = re.compile(
    r"c_u?int(8|16|32|64)|c_float|c_double|(Big|Little)Endian(Structure|Union)|Array|Final"
    r"|TYPE_CHECKING|IO|IOR|IOW|IOWR|int|str|dict|frozenset|annotations|IOCTLS|OPAQUE|DEFINED"
    r"|ARCHITECTURE|ABI_VERSION|OVERLAY_ADDED|OVERLAY_BASE|__\w*__"
    r"|_(check|count|divide|offset_of|remainder|signed)"
)
"""Names that a generated module uses itself, or that mean something to Python."""

Named = TypeVar("Named", Enumerator, FunctionMacro, Ioctl, Macro)


def is_usable(name: str) -> bool:
    """Whether a generated module can have this name."""
    return name.isidentifier() and not keyword.iskeyword(name) and not _USED.fullmatch(name)


def nameable(abi: Abi) -> Abi:
    """The Abi without the constants, ioctls and functions whose names no module can have.

    They are opaque in it. AbiError where a record has such a name, since other records may need it.
    """
    for record in abi.records.values():
        if not is_usable(record.name):
            raise AbiError(f"{record.name}: a {record.kind} cannot be called so in Python")
    opaque = dict(abi.opaque)

    def kept(table: Mapping[str, Named], kind: str) -> Mapping[str, Named]:
        usable: dict[str, Named] = {}
        for name, item in table.items():
            without_value = getattr(item, "value", 0) is None
            if is_usable(name) or without_value:
                usable[name] = item
            else:
                opaque[name] = Opaque(name, kind, "Python cannot have this name", item.origin)
        return MappingProxyType(usable)

    return dataclasses.replace(
        abi,
        enumerators=kept(abi.enumerators, "enumerator"),
        macros=kept(abi.macros, "macro"),
        functions=kept(abi.functions, "macro"),
        ioctls=kept(abi.ioctls, "ioctl"),
        opaque=MappingProxyType(opaque),
    )
