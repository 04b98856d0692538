"""Takes machines of a named pool for `run` and `map`, if the machines fit the other options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from microvm.cli import names
from microvm.errors import MicroVMError
from microvm.log import Area
from microvm.machine.snapshot import Snapshot
from microvm.options import MachineOptions, PoolOptions
from microvm.printable import printable
from microvm.supervisor.client.pooled import PooledVM, facts_of
from microvm.units import format_size

if TYPE_CHECKING:
    from microvm.cli.attach import WantedPorts
    from microvm.images import Image
    from microvm.supervisor.client.attached_pool import AttachedPool

T = TypeVar("T")

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

    def lease() -> PooledVM:
        facts = facts_of(name)
        if any(wanted):
            raise MicroVMError("its machines open no ports")
        _check_fit(facts, machine, image, snapshot)
        return PooledVM(name, facts)

    return _try(name, lease)


def attach(
    name: str, size: int | None, machine: PoolOptions, *, image: str | None, snapshot: str | None
) -> AttachedPool | None:
    """Attach to the pool `name` for `microvm map`. If it does not fit, return None, and log why.

    :param size: Maximum number of machines at the same time; None for the default of `Pool.attach`.
    :param machine: The options of the machines that the user has given.
    :param image: The image that the user has given, which must be that of the pool.
    """
    # Imported here, because `microvm run` needs no asyncio, whose import is slow.
    from microvm.supervisor.client.attached_pool import AttachedPool

    def attached() -> AttachedPool:
        found = AttachedPool(name, size, machine.get("notify"))
        _check_fit(found.facts, machine, image, snapshot)
        return found

    return _try(name, attached)


def _try(name: str, use: Callable[[], T]) -> T | None:
    """Return the result of `use`, or if the pool cannot be used, log the reason and return None."""
    try:
        return use()
    except (MicroVMError, OSError) as error:
        log_unused(name, f"{error}; starting a machine")
        return None


def log_unused(name: str, why: str) -> None:
    """Log the reason why the pool `name` is not used."""
    _logger.info("pool %s is not used: %s", printable(name), why)


def _check_fit(
    facts: Mapping[str, Any], machine: PoolOptions, image: str | None, snapshot: str | None
) -> None:
    """Raise an error if the machines of a pool do not fit the options that the user has given."""
    given: Mapping[str, Any] = machine
    for option in _UNFIT:
        if given.get(option):
            raise MicroVMError(f"--{option} needs a new machine")
    if snapshot is not None and not _has_snapshot(facts, snapshot):
        raise MicroVMError(f"its machines do not start from snapshot {snapshot} as it is now")
    if image is not None and not _has_image(facts, names.find_image(image, machine.get("arch"))):
        raise MicroVMError(f"its machines have the image {facts['image']}")
    for option in _PROPERTIES:
        if option in given and given[option] != facts[option]:
            if option == "accel" and given[option] == "auto":
                continue
            has, wants = (_shown(option, each[option]) for each in (facts, given))
            raise MicroVMError(f"its machines have --{option} {has}, and not {wants}")


def _shown(option: str, value: object) -> str:
    return format_size(value) if option in _SIZES and isinstance(value, int) else str(value)


def _has_snapshot(facts: Mapping[str, Any], name: str) -> bool:
    """Return True if the machines of a pool start from this snapshot, which may have changed."""
    state = Snapshot._state_of(name)
    return facts["snapshot"] == name and state is not None and state == facts["snapshot_state"]


def _has_image(facts: Mapping[str, Any], image: Image) -> bool:
    """Return True if the machines of a pool have this image, and start from no snapshot."""
    return facts["snapshot"] is None and facts["image"] == image.name
