"""The records in the cache: objects of JSON whose members have known types."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from microvm.cache import store as cache

T = TypeVar("T")


def read(
    path: Path, limit: int, opener: Callable[[Path], int] = cache.open_file
) -> dict[str, object]:
    """Return the object in a file.

    :param limit: the most bytes that the file may have.
    :raises OSError: as the opener, or it is longer.
    :raises ValueError: it holds no object.
    """
    try:
        found = json.loads(cache.read(path, limit, opener))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it holds no object")
    return found


def make(kind: type[T], members: dict[str, Any]) -> T:
    """Make a dataclass of these members, each of the type that it is annotated with.

    :raises ValueError: they are others.
    """
    types = get_type_hints(kind)
    if odd := members.keys() ^ types.keys():
        raise ValueError(f"{min(odd)} is missing, or unknown")
    for name, wanted in types.items():
        value = members[name]
        if get_origin(wanted) is Literal:
            if value not in get_args(wanted):
                raise ValueError(f"{name} cannot be {value!r}")
        elif type(value) is not wanted:
            raise ValueError(f"{name} is not of type {wanted.__name__}")
    return kind(**members)
