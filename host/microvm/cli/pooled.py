"""Takes machines of a named pool for `run` and `map`, if the machines fit the other options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from microvm.cli import names
from microvm.errors import MicroVMError
from microvm.log import Area
from microvm.options import MachineOptions, PoolOptions
from microvm.printable import printable
from microvm.supervisor.client.pool_fit import UNFIT, check_fit, check_origin
from microvm.supervisor.client.pooled import PooledVM, facts_of

if TYPE_CHECKING:
    from microvm.cli.attach import WantedPorts
    from microvm.supervisor.client.attached_pool import AttachedPool

T = TypeVar("T")

_logger = Area("start")


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


def same_kind(
    name: str,
    machine: MachineOptions,
    *,
    image: str | None = None,
    snapshot: str | None = None,
) -> tuple[MachineOptions, str | None, str | None]:
    """Return options, image and snapshot of a machine that is started instead of a pooled one.

    They are those of the pool `name`, except for options that the user has given. They are only
    what the user has given if the pool has ended, if its machines do not fit the given options, or
    if its image or snapshot was removed.
    """
    given: Any = {option: value for option, value in machine.items() if option not in UNFIT}
    try:
        facts = facts_of(name)
        _check_fit(facts, given, image, snapshot)
    except (MicroVMError, OSError):
        return machine, image, snapshot
    try:
        check_origin(facts)
    except (MicroVMError, OSError) as error:
        _logger.info("the options of pool %s are not used: %s", printable(name), error)
        return machine, image, snapshot
    options: Any = {**facts["pool"]["options"], **machine}
    return options, None if facts["snapshot"] else facts["folder"], facts["snapshot"]


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
        check_origin(found.facts)
        return found

    return _try(name, attached)


def _try(name: str, use: Callable[[], T]) -> T | None:
    """Return the result of `use`, or if the pool cannot be used, log the reason and return None."""
    try:
        return use()
    except (MicroVMError, OSError) as error:
        _logger.info("pool %s is not used: %s; starting a machine", printable(name), error)
        return None


def _check_fit(
    facts: Mapping[str, Any], machine: PoolOptions, image: str | None, snapshot: str | None
) -> None:
    found = None if image is None else names.find_image(image, machine.get("arch"))
    check_fit(facts, machine, found, snapshot)
