"""The backends: what a schema can be written to, such as Python, C or Markdown.

A backend is one function, `emit(schema, output)`, that returns the text of each file it writes, by
name; `output` is the schema's `[[output]]` that asks for it. It is pure: no I/O, no clock, no order
that is not the schema's. Those of this package are the modules beside this one; others are entry
points of the group `microvm_proto.backends`. The ways in which one can write the same are `STYLES`,
names in a tuple beside its `emit`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from microvm_proto.schema import Output, Schema

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Backend: TypeAlias = Callable[[Schema, Output], Mapping[str, str]]

GROUP = "microvm_proto.backends"


def names() -> list[str]:
    """Return the names of all backends, built in or installed, sorted."""
    return sorted({*_built_in(), *(point.name for point in _installed())})


def exists(name: str) -> bool:
    """Tell whether there is a backend called `name`, without loading it."""
    return name in _built_in() or any(point.name == name for point in _installed())


def find(name: str) -> Backend:
    """Load the backend called `name`; a built-in one comes first.

    :raises KeyError: there is none.
    """
    if name in _built_in():
        emit: Backend = importlib.import_module(f"{__name__}.{name}").emit
        return emit
    for point in _installed():
        if point.name == name:
            installed: Backend = point.load()
            return installed
    raise KeyError(name)


def styles(name: str) -> tuple[str, ...]:
    """Return the styles of the backend called `name`.

    :raises KeyError: there is no such backend.
    """
    module = importlib.import_module(find(name).__module__)
    known: tuple[str, ...] = getattr(module, "STYLES", ())
    return known


def _installed() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _built_in() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]
