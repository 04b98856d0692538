"""Takes a machine of a named pool for `microvm run`, if the machine fits the other options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from microvm.cli import names
from microvm.errors import MicroVMError
from microvm.log import Area
from microvm.options import MachineOptions
from microvm.printable import printable
from microvm.supervisor.client import pooled

if TYPE_CHECKING:
    from microvm.cli.attach import WantedPorts
    from microvm.images import Image
    from microvm.supervisor.client.pooled import PooledVM

_logger = Area("start")

_PROPERTIES = ("memory", "cpus", "disk", "arch", "accel", "confinement")
"""The options that the machines of a pool share, and that `microvm run` can have, too."""

_UNFIT = ("cold", "console", "commands")
"""The options of `microvm run` that need a machine that has not been started yet."""


def take(
    name: str,
    machine: MachineOptions,
    *,
    image: str | None,
    snapshot: str | None,
    wanted: WantedPorts,
) -> PooledVM | None:
    """Return a machine of the pool `name`; None if it has none that fits. Log the reason.

    :param machine: The options of the machine that the user has given.
    :param image: The image that the user has given, which must be that of the pool.
    :param wanted: The ports to open, for which the machines of a pool permit too few commands.
    """
    try:
        facts = pooled.facts_of(name)
        if any(wanted):
            why = "its machines open no ports"
        else:
            why = _misfit(facts, machine, image, snapshot)
        if not why:
            return pooled.take(name)
    except MicroVMError as error:
        why = error.message
    _logger.info("pool %s is not used: %s; starting a machine", printable(name), why)
    return None


def _misfit(
    facts: Mapping[str, Any], machine: MachineOptions, image: str | None, snapshot: str | None
) -> str:
    """Return why the machines of a pool do not fit the options that the user has given, or ""."""
    given: Mapping[str, Any] = machine
    for option in _UNFIT:
        if given.get(option):
            return f"--{option} needs a new machine"
    if snapshot is not None and snapshot != facts["snapshot"]:
        return f"its machines do not start from snapshot {snapshot}"
    if image is not None and not _has_image(facts, names.find_image(image, machine.get("arch"))):
        return f"its machines have the image {facts['image']}"
    for option in _PROPERTIES:
        if option in given and given[option] != facts[option]:
            if option == "accel" and given[option] == "auto":
                continue
            return f"its machines have the {option} {facts[option]}, and not {given[option]}"
    return ""


def _has_image(facts: Mapping[str, Any], image: Image) -> bool:
    """Return True if the machines of a pool have this image, and start from no snapshot."""
    return facts["snapshot"] is None and facts["image"] == image.name
