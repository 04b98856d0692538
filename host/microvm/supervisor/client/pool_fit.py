"""Checks whether the machines of a named pool fit the options of a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microvm.errors import MicroVMError
from microvm.images import Image, load
from microvm.machine.snapshot import Snapshot
from microvm.options import PoolOptions
from microvm.units import format_size

_PROPERTIES = ("memory", "cpus", "disk", "arch", "accel", "confinement")
"""The options that the machines of a pool share, and that a user can give, too."""

_SIZES = ("memory", "disk")

UNFIT = ("cold", "console")
"""The options that need a machine that has not been started yet."""


def check_fit(
    facts: Mapping[str, Any], given: PoolOptions, image: Image | None, snapshot: str | None
) -> None:
    """Check that the machines of a pool fit the options that a user has given.

    :param facts: Description of the pool, as `facts_of` returns it.
    :param image: Image that the user has given, or None.
    :param snapshot: Name of the snapshot that the user has given, or None.
    :raises MicroVMError: The machines do not fit.
    """
    options: Mapping[str, Any] = given
    for option in UNFIT:
        if options.get(option):
            raise MicroVMError(f"--{option} needs a new machine")
    if snapshot is not None and not _has_snapshot(facts, snapshot):
        raise MicroVMError(f"its machines do not start from snapshot {snapshot} as it is now")
    if image is not None and not _has_image(facts, image):
        raise MicroVMError(f"its machines have the image {facts['image']}")
    for option in _PROPERTIES:
        if option in options and options[option] != facts[option]:
            if option == "accel" and options[option] == "auto":
                continue
            has, wants = (_shown(option, each[option]) for each in (facts, options))
            raise MicroVMError(f"its machines have --{option} {has}, and not {wants}")


def check_origin(facts: Mapping[str, Any]) -> None:
    """Check that this process can start machines of the same kind as those of a pool.

    :raises MicroVMError: The image or the snapshot of the pool does not exist, or is damaged.
    """
    load(facts["folder"])
    if facts["snapshot"]:
        Snapshot.find(facts["snapshot"])


def _shown(option: str, value: object) -> str:
    return format_size(value) if option in _SIZES and isinstance(value, int) else str(value)


def _has_snapshot(facts: Mapping[str, Any], name: str) -> bool:
    """Return True if a pool uses the snapshot `name` of this process's cache, in its present state.

    The pool may use another cache, whose snapshot of this name differs.
    """
    state = Snapshot._state_of(name)
    return facts["snapshot"] == name and state is not None and state == facts["snapshot_state"]


def _has_image(facts: Mapping[str, Any], image: Image) -> bool:
    """Return True if the machines of a pool have this image, and start from no snapshot."""
    return facts["snapshot"] is None and facts["image"] == image.name
