"""The description of the machine that a test uses: its image or snapshot, options and set-up."""

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
"""A function that prepares a machine. Each test gets a fork of the prepared machine."""

#: Options that a fork of a prepared machine can set. All others are those of the prepared machine.
_OF_FORKS = ("confinement", "commands", "notify", "console")


class MicroVMOptions(MachineOptions, total=False):
    """Options of `@pytest.mark.microvm`, of the fixture `microvm_options`, and of factories.

    They are the options of `microvm.MicroVM`, and the image or the snapshot to start from.
    """

    image: Image | str | Path | None
    snapshot: Snapshot | str | None


def marked(node: pytest.Item | pytest.Session) -> Iterator[MicroVMOptions]:
    """Yield the options in each mark of the test `node`; the later ones take precedence."""
    for mark in reversed(list(node.iter_markers("microvm"))):
        given: Any = dict(mark.kwargs)
        if len(mark.args) > 1 or (mark.args and "image" in given):
            raise UsageError("pytest.mark.microvm takes one positional argument, the image")
        if mark.args:
            given["image"] = mark.args[0]
        yield given


def merged(layers: Sequence[MicroVMOptions]) -> dict[str, Any]:
    """Merge `layers` of options, such as those of a fixture and of a mark. The later ones win.

    A snapshot replaces an image and the options that the snapshot determines. An image replaces a
    snapshot.
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
class WantedMachine:
    """A description of the machine that a test uses: its image or snapshot, options and set-up.

    :ivar snapshot: Snapshot to start from instead of an image, or its name.
    :ivar kind: Digest of the properties above. Equal machines have the same `kind` in all processes
        of a test run.
    """

    image: Image | str | Path | None
    snapshot: Snapshot | str | None
    options: MachineOptions
    setup: Setup | None
    kind: str

    @classmethod
    def of(
        cls, layers: Sequence[MicroVMOptions], setup: Setup | None, variant: str = ""
    ) -> WantedMachine:
        """Return the description of a machine with the options in `layers`; the later ones win.

        :param layers: Options from several places. Later ones take precedence; the first ones are
            those of the session.
        :param variant: Text that distinguishes set-ups that are the same function with different
            parameters of the fixture.
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
                raise UsageError(
                    "cold: with microvm_setup, the machine of a test is a fork and cannot be booted"
                )
        shape = [read[name] for name in options_of(MachineOptions) if name not in _OF_FORKS]
        parts = (
            str(image),
            str(snapshot),
            shape,
            read["confinement"],
            _source_position(setup),
            variant,
        )
        kind = sha256(repr(parts).encode()).hexdigest()[:16]
        return cls(image, snapshot, options, setup, kind)

    def origin(self) -> Image | Snapshot | str | Path | None:
        """Return the image or the snapshot from which the machine starts."""
        if not isinstance(self.snapshot, str):
            return self.snapshot or self.image
        from microvm.machine.snapshot import Snapshot

        return Snapshot.find(self.snapshot)

    def fork(self, snapshot: Snapshot) -> WantedMachine:
        """Return the description of a fork of `snapshot`, which was saved after this set-up."""
        options: Any = {name: value for name, value in self.options.items() if name in _OF_FORKS}
        return WantedMachine(None, snapshot, options, None, self.kind)


def _check(setup: object) -> None:
    if not callable(setup):
        raise UsageError("microvm_setup must return a function that takes a machine, or None")
    if iscoroutinefunction(setup):
        raise UsageError("microvm_setup must return a function that is not async")


def _source_position(setup: Setup | None) -> str:
    """Return the file and line at which a set-up function is defined.

    Unlike the function's address in memory, it is the same in every process.
    """
    code = getattr(setup, "__code__", None)
    if code is None:
        return "" if setup is None else f"{type(setup).__module__}.{type(setup).__qualname__}"
    return f"{code.co_filename}:{code.co_firstlineno}:{code.co_qualname}"
