"""The machine that a test wants: an image or a snapshot, options, and a set-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from microvm.errors import UsageError
from microvm.option import options_of, parse_options
from microvm.options import MachineOptions

if TYPE_CHECKING:
    from microvm.images import Image
    from microvm.machine.snapshot import Snapshot
    from microvm.sync import MicroVM

Setup = Callable[["MicroVM"], object]
"""A function that prepares a machine, from which each test then has a fork."""

#: What may differ between a machine that was set up, or saved, and one that goes on from it.
_OF_FORKS = ("confinement", "notify", "console")


class MicroVMOptions(MachineOptions, total=False):
    """What `@pytest.mark.microvm` takes, `microvm_options` returns, and factories are called with.

    The options of `microvm.MicroVM`, and what it starts from.
    """

    image: Image | str | Path | None
    snapshot: Snapshot | str | None


def marked(node: pytest.Item | pytest.Session) -> Iterator[MicroVMOptions]:
    """Yield what the marks of a test say, the nearest last."""
    for mark in reversed(list(node.iter_markers("microvm"))):
        given: Any = dict(mark.kwargs)
        if len(mark.args) > 1 or (mark.args and "image" in given):
            raise UsageError("pytest.mark.microvm takes an image, and all else by name")
        if mark.args:
            given["image"] = mark.args[0]
        yield given


def merged(layers: Sequence[MicroVMOptions]) -> dict[str, Any]:
    """Return all options as one: what comes later counts more.

    A snapshot takes the place of an image, and of the options that it settles; and the other way
    round.

    :raises UsageError: one names both.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        given = {name: value for name, value in layer.items() if value is not None}
        if {"image", "snapshot"} <= given.keys():
            raise UsageError("a machine starts from an image or a snapshot: name one of them")
        if "snapshot" in given:
            result = {name: value for name, value in result.items() if name in _OF_FORKS}
        elif "image" in given:
            result.pop("snapshot", None)
        result.update(given)
    return result


@dataclass(frozen=True, slots=True)
class Wanted:
    """A machine that a test wants.

    :ivar image: the image that `MicroVM` takes.
    :ivar snapshot: the snapshot that it takes in the place of an image, or the name of one.
    :ivar options: its options.
    :ivar setup: what prepares it; None: nothing.
    :ivar kind: a name that all machines have which are alike, of every process of a run.
    """

    image: Image | str | Path | None
    snapshot: Snapshot | str | None
    options: MachineOptions
    setup: Setup | None
    kind: str

    @classmethod
    def of(cls, layers: Sequence[MicroVMOptions], setup: Setup | None, variant: str = "") -> Wanted:
        """Return what a test wants.

        :param layers: options, the last of which count most; the first are those of the session.
        :param variant: tells set-ups apart that are the same function with other variables.
        :raises UsageError: an option cannot be, or two cannot be together.
        """
        options: Any = merged(layers)
        image, snapshot = options.pop("image", None), options.pop("snapshot", None)
        try:
            read = parse_options(MachineOptions, options, "MicroVM")
        except TypeError as error:
            raise UsageError(str(error)) from None
        if snapshot is not None and snapshot is not layers[0].get("snapshot"):
            setup = None
        if setup is not None:
            _check(setup)
            if read["cold"]:
                raise UsageError("cold: a test's machine is a fork of what microvm_setup has made")
        shape = [read[name] for name in options_of(MachineOptions) if name not in _OF_FORKS]
        parts = (str(image), str(snapshot), shape, read["confinement"], _place(setup), variant)
        kind = sha256(repr(parts).encode()).hexdigest()[:16]
        return cls(image, snapshot, options, setup, kind)

    def origin(self) -> Image | Snapshot | str | Path | None:
        """Return what `MicroVM` takes.

        :raises SnapshotError: there is no snapshot of that name.
        """
        if not isinstance(self.snapshot, str):
            return self.snapshot or self.image
        from microvm.machine.snapshot import Snapshot

        return Snapshot.find(self.snapshot)

    def fork(self, snapshot: Snapshot) -> Wanted:
        """Return the same as a machine that goes on from there."""
        options: Any = {name: value for name, value in self.options.items() if name in _OF_FORKS}
        return Wanted(None, snapshot, options, None, self.kind)


def _check(setup: object) -> None:
    if not callable(setup):
        raise UsageError("microvm_setup has to return a function that takes a machine, or None")
    if iscoroutinefunction(setup):
        raise UsageError("microvm_setup has to return a function that is not async")


def _place(setup: Setup | None) -> str:
    """Where a function stands in the sources, which is the same in every process."""
    code = getattr(setup, "__code__", None)
    if code is None:
        return "" if setup is None else f"{type(setup).__module__}.{type(setup).__qualname__}"
    return f"{code.co_filename}:{code.co_firstlineno}:{code.co_qualname}"
