"""Find the backends, each of which generates one kind of file from a schema: Python, C, Markdown.

A backend is a function `emit(schema, output)`. It returns a dictionary from the name of each
generated file to its text. `output` is the `[[output]]` table of the schema that requests the file.
`emit` must be pure: it does no I/O, does not read the clock, and keeps the order of the schema. A
backend that can generate code in several styles lists the names of the styles in a tuple `STYLES`,
in the module that defines `emit`.

Each submodule of this package is a built-in backend. Other packages add backends through entry
points in the group `microvm_proto.backends`.
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
    """Return the sorted names of all backends, both built-in and installed."""
    return sorted({*_built_in(), *(point.name for point in _installed())})


def exists(name: str) -> bool:
    """Return True if a backend has this name.

    The installed packages are searched only if no built-in backend has the name.
    """
    return name in _built_in() or name in names()


def find(name: str) -> Backend:
    """Load the backend called `name`. A built-in backend takes precedence over an installed one."""
    if name in _built_in():
        emit: Backend = importlib.import_module(f"{__name__}.{name}").emit
        return emit
    for point in _installed():
        if point.name == name:
            installed: Backend = point.load()
            return installed
    raise KeyError(name)


def styles(name: str) -> tuple[str, ...]:
    """Return the names of the styles in which the backend called `name` can generate code."""
    module = importlib.import_module(find(name).__module__)
    known: tuple[str, ...] = getattr(module, "STYLES", ())
    return known


def _installed() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _built_in() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]
