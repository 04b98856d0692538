"""The base class of public classes whose objects only this library creates."""

from __future__ import annotations

from typing import Self


class NoConstructor:
    """A class without a public constructor, because methods of other objects return its objects."""

    def __init__(self) -> None:
        """Raise a TypeError. Objects of this class are returned by methods of other objects."""
        kind = type(self).__name__
        raise TypeError(f"{kind}() cannot be called; methods of other objects return a {kind}")

    @classmethod
    def _new(cls) -> Self:
        """Create an object without attributes. The caller then calls its method `_init`."""
        return cls.__new__(cls)
