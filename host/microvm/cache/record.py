"""Records in the cache: JSON objects whose members have known types."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from microvm import cache

T = TypeVar("T")


def read(
    path: Path, limit: int, opener: Callable[[Path], int] = cache.open_file
) -> dict[str, object]:
    """Return the JSON object in a record, a file of at most `limit` bytes that `opener` opens.

    :raises ValueError: The file does not contain an object.
    """
    try:
        found = json.loads(cache.read(path, limit, opener))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it holds no object")
    return found


def make(kind: type[T], members: dict[str, Any]) -> T:
    """Create a named tuple of type `kind` from a JSON object's `members`, and check their types.

    Each member must have the type of its annotation in the named tuple: a type of JSON, a
    `Literal`, a named tuple, or a tuple of any number of values of such a type.

    :raises ValueError: A member is missing, unknown or of another type.
    """
    return _record(kind, members, "")


def members(made: Any) -> dict[str, Any]:
    """Convert the named tuple `made` to the members of a JSON object; `make` does the reverse."""
    return {
        name: members(value) if _is_record(type(value)) else value
        for name, value in zip(made._fields, made, strict=True)
    }


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def _record(kind: type[T], members: object, within: str) -> T:
    types = _types(kind)  # type: ignore[arg-type] # mypy takes no class for hashable
    if not isinstance(members, dict):
        raise ValueError(f"{within.rstrip('.')} is no object")
    if unexpected := members.keys() ^ types.keys():
        raise ValueError(f"{within}{min(unexpected)} is missing, or unknown")
    return kind(
        **{name: _value(each, members[name], within + name) for name, each in types.items()}
    )


@functools.cache
def _types(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(wanted: Any, value: object, name: str) -> object:
    if get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            raise ValueError(f"{name} cannot be {value!r}")
        return value
    if get_origin(wanted) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{name} is no array")
        each = get_args(wanted)[0]
        return tuple(_value(each, item, f"{name}[{index}]") for index, item in enumerate(value))
    if _is_record(wanted):
        return _record(wanted, value, f"{name}.")
    if type(value) is not wanted:
        raise ValueError(f"{name} is not of type {wanted.__name__}")
    return value
