"""The state of a machine or pool that stops: the reason, and events that clients wait for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Termination:
    """The reason for the end of a machine or of a pool, and how its supervisor handles the end.

    :ivar asked: True if somebody asked for the end.
    :ivar traceless: True if the folder of the machine is removed at once, with the reason.
    """

    reason: str
    asked: bool = False
    traceless: bool = False


class Ending:
    """The state of a machine or pool that stops.

    :ivar wanted: Future that is done when the machine must stop; its result is the reason.
    :ivar begun: The reason why the machine is stopping or has stopped; None while it runs.
    :ivar gone: Event that is set when the machine has stopped and its files are removed.
    """

    def __init__(self) -> None:
        self.wanted: asyncio.Future[Termination] = asyncio.get_running_loop().create_future()
        self.begun: Termination | None = None
        self.gone = asyncio.Event()

    def want(self, reason: str, *, asked: bool = False, traceless: bool = False) -> None:
        """Request that the machine or pool stops. Only the first call has an effect.

        :param reason: Reason for users; see also `Termination`.
        """
        if not self.wanted.done():
            self.wanted.set_result(Termination(reason, asked, traceless))

    def stop(self) -> None:
        """Request that the machine or pool stops, because a user asked for it."""
        self.want("it was stopped", asked=True, traceless=True)

    async def reply(self) -> dict[str, Any]:
        """Wait until the machine has stopped and its files are removed.

        :return: The `reason`, and `asked`, which is True if somebody asked for the end.
        """
        await self.gone.wait()
        assert self.begun is not None  # noqa: S101 - set before `gone`
        return {"reason": self.begun.reason, "asked": self.begun.asked}
