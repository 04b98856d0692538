"""Takes a machine of a named pool for `microvm run`, if the machine fits the other options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from microvm.cli import names
from microvm.errors import MicroVMError
from microvm.log import Area
from microvm.machine.snapshot import Snapshot
from microvm.options import MachineOptions
from microvm.printable import printable
from microvm.supervisor.client.pooled import PooledVM, facts_of
from microvm.units import format_size

if TYPE_CHECKING:
    from microvm.cli.attach import WantedPorts
    from microvm.images import Image

_logger = Area("start")

_PROPERTIES = ("memory", "cpus", "disk", "arch", "accel", "confinement")
"""The options that the machines of a pool share, and that `microvm run` can have, too."""

_SIZES = ("memory", "disk")

_UNFIT = ("cold", "console")
"""The options of `microvm run` that need a machine that has not been started yet."""


def take(
    name: str,
    machine: MachineOptions,
    *,
    image: str | None,
    snapshot: str | None,
    wanted: WantedPorts,
) -> PooledVM | None:
    """Return a machine of the pool `name`. If it has none that fits, return None, and log why.

    :param machine: The options of the machine that the user has given.
    :param image: The image that the user has given, which must be that of the pool.
    :param wanted: The ports to open. A pool's machines run one command at a time, so they cannot
        serve ports.
    """
    try:
        facts = facts_of(name)
        if any(wanted):
            why = "its machines open no ports"
        else:
            why = _misfit(facts, machine, image, snapshot)
        if not why:
            return PooledVM(name, facts)
    except (MicroVMError, OSError) as error:
        why = str(error)
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
    if snapshot is not None and not _has_snapshot(facts, snapshot):
        return f"its machines do not start from snapshot {snapshot} as it is now"
    if image is not None and not _has_image(facts, names.find_image(image, machine.get("arch"))):
        return f"its machines have the image {facts['image']}"
    for option in _PROPERTIES:
        if option in given and given[option] != facts[option]:
            if option == "accel" and given[option] == "auto":
                continue
            has, wants = (_shown(option, each[option]) for each in (facts, given))
            return f"its machines have --{option} {has}, and not {wants}"
    return ""


def _shown(option: str, value: object) -> str:
    return format_size(value) if option in _SIZES and isinstance(value, int) else str(value)


def _has_snapshot(facts: Mapping[str, Any], name: str) -> bool:
    """Return True if the machines of a pool start from this snapshot, which may have changed."""
    state = Snapshot._state_of(name)
    return facts["snapshot"] == name and state is not None and state == facts["snapshot_state"]


def _has_image(facts: Mapping[str, Any], image: Image) -> bool:
    """Return True if the machines of a pool have this image, and start from no snapshot."""
    return facts["snapshot"] is None and facts["image"] == image.name
