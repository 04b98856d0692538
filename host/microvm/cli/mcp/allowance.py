"""The numbers of machines and snapshots that the sessions of a server may still create."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from microvm.cli.mcp.limits import ServerLimits
from microvm.cli.mcp.refusal import Refusal


class Allowance:
    """The number of objects of one kind that all sessions of a server may still create."""

    def __init__(self, kind: str, most: int) -> None:
        """Create the allowance of `most` objects.

        :param kind: Name of the objects in errors, such as `machines`.
        """
        self._kind = kind
        self._most = most
        self._left = most

    @contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Context manager: take `count` objects, and give them back if the block raises an error.

        :raises Refusal: If fewer objects are left.
        """
        if count > self._left:
            raise Refusal(
                f"Too many {self._kind}: the server allows {self._most} in all sessions, and "
                f"{self._left} more now. Remove some with stop first."
            )
        self._left -= count
        try:
            yield
        except BaseException:
            self.give_back(count)
            raise

    def give_back(self, count: int = 1) -> None:
        """Allow `count` more objects, because as many were removed."""
        self._left += count


class Allowances:
    """The allowances of a server.

    :ivar machines: Allowance of running machines.
    :ivar snapshots: Allowance of snapshots.
    """

    def __init__(self, limits: ServerLimits) -> None:
        """Create the allowances of a new server, which has no sessions yet."""
        self.machines = Allowance("machines", limits.max_machines)
        self.snapshots = Allowance("snapshots", limits.max_snapshots)
