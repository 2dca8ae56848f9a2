"""A check of JSON values against the part of JSON Schema (2020-12) that our schema uses.

Known keywords: type, const, enum, properties, required, additionalProperties, patternProperties,
items, minItems, minimum, pattern, anyOf, and $ref to ``#/$defs/…``. Annotations (title,
description, …) are passed over; any other keyword raises AbiError, so that none is silently
ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kvmabi.errors import AbiError

_ANNOTATIONS: Final = {"$schema", "$id", "$defs", "$comment", "title", "description", "examples"}
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_MEMBERS: Final = {"properties", "patternProperties", "additionalProperties"}
_REF: Final = "#/$defs/"


def violations(value: object, schema: Mapping[str, Any]) -> list[str]:
    """What in `value` does not fit `schema`, each with its place ("$.sections.caps: …")."""
    return list(_check(value, schema, schema, "$"))


def _check(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    for keyword, wanted in schema.items():
        if keyword in _ANNOTATIONS or keyword in _MEMBERS:
            continue
        if keyword == "$ref":
            yield from _check(value, root["$defs"][wanted.removeprefix(_REF)], root, at)
        elif keyword == "anyOf":
            if not any(not list(_check(value, one, root, at)) for one in wanted):
                yield f"{at}: {value!r:.60} fits none of the alternatives"
        elif keyword == "items":
            for index, item in enumerate(value if isinstance(value, list | tuple) else ()):
                yield from _check(item, wanted, root, f"{at}[{index}]")
        elif keyword in _SIMPLE:
            found = _SIMPLE[keyword](value, wanted)
            if found:
                yield f"{at}: {found}"
        else:
            raise AbiError(f"the schema uses {keyword!r}, which the checker does not know")
    if isinstance(value, dict):
        yield from _check_members(value, schema, root, at)


def _is(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])


def _type(value: object, wanted: str | list[str]) -> str:
    names = [wanted] if isinstance(wanted, str) else wanted
    fits = any(_is(value, name) for name in names)
    return "" if fits else f"{value!r:.60} is no {' or '.join(names)}"


def _const(value: object, wanted: object) -> str:
    return "" if value == wanted else f"{value!r:.60} is not {wanted!r}"


def _enum(value: object, wanted: list[object]) -> str:
    return "" if value in wanted else f"{value!r:.60} is none of {wanted}"


def _minimum(value: object, wanted: float) -> str:
    low = isinstance(value, int | float) and value < wanted
    return f"{value} is less than {wanted}" if low else ""


def _pattern(value: object, wanted: str) -> str:
    misses = isinstance(value, str) and not re.search(wanted, value)
    return f"{value!r:.60} does not match {wanted}" if misses else ""


def _min_items(value: object, wanted: int) -> str:
    short = isinstance(value, list | tuple) and len(value) < wanted
    return f"fewer than {wanted} items" if short else ""


def _required(value: object, wanted: list[str]) -> str:
    missing = [name for name in wanted if name not in value] if isinstance(value, dict) else []
    return f"no {', '.join(map(repr, missing))}" if missing else ""


_SIMPLE: Final[Mapping[str, Callable[[Any, Any], str]]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "minimum": _minimum,
    "pattern": _pattern,
    "minItems": _min_items,
    "required": _required,
}
"""What is wrong with a value by one keyword; empty if nothing is."""


def _check_members(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    named = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    others = schema.get("additionalProperties", True)
    for name, item in value.items():
        inner = [named[name]] if name in named else []
        inner += [one for pattern, one in patterns.items() if re.search(pattern, name)]
        if not inner and others is False:
            yield f"{at}: {name!r} is not known"
        elif not inner and isinstance(others, dict):
            inner = [others]
        for one in inner:
            yield from _check(item, one, root, f"{at}.{name}")
