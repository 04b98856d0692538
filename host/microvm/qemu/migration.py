"""Migrations: how a guest gets out of its QEMU, into files, and from there into another."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping

from qemu.qmp import EventListener

from microvm.concurrency.tasks import cancel
from microvm.qemu.command_line import IGNORE_SHARED, Memory, descriptor_path
from microvm.qemu.qmp import Client, field

#: The first that migrates to and from a file by its name, and maps one that it may only read
#: without making it a ROM; those before migrate by descriptors, and map what they may write.
FILE_MIGRATION = (8, 2)

#: The first that sends memory to a file so that pages of zeros are neither written nor read, and
#: one that is changed meanwhile is not there twice.
MAPPED_RAM = (9, 0)

# How long a guest may stand for the last of its memory, in milliseconds: before what runs in it is
# frozen, so that it seldom does; and then.
_NO_PAUSE_MS = 1
_ANY_PAUSE_MS = 1_000_000

# By default QEMU sends 128 MiB in a second, which spares a network.
_BANDWIDTH = 1 << 40

# With so much left to be sent, in bytes, or half of it, what runs in a guest is frozen: it says so
# before that is sent, which takes some milliseconds where it is zeros, and not much longer.
_LATE = 128 << 20

_INTERVAL = 0.002
_EVENTS = ("MIGRATION",)
_STANDING = "pre-switchover"
_ENDED = {"completed", "failed", "cancelled"}


async def receive(qmp: Client, sent: int) -> None:
    """Have QEMU restore a guest that another one has sent to a file; then it goes on here.

    :param sent: the file, which QEMU has inherited.
    :raises TemplateError: QEMU says that it cannot.
    """
    await _set(qmp, _mapped(qmp))
    by_name = qmp.version >= MAPPED_RAM
    uri = f"file:{descriptor_path(sent)}" if by_name else f"fd:{sent}"
    await qmp.request("migrate-incoming", {"uri": uri})


async def save(qmp: Client, memory: Memory) -> str | None:
    """Have QEMU save its guest, whose RAM is a shared file and stays there; it stops for good.

    It is not stopped before: what is saved as stopped would not go on by itself.

    :return: `completed`, or how else it ended in QEMU's words; None if QEMU has ended.
    :raises TemplateError: QEMU says that it cannot.
    """
    await _set(qmp, {IGNORE_SHARED: True})
    by_name = qmp.version >= FILE_MIGRATION
    file = f"file:{descriptor_path(memory.state)}"
    uri = file if by_name else await qmp.give("state", memory.state)
    with qmp.listener(_EVENTS) as events:
        await qmp.request("migrate", {"uri": uri})
        return await _status(events, _ENDED)


async def send(
    qmp: Client,
    target: int,
    freeze: Callable[[], Awaitable[None]],
    standing: Callable[[], Awaitable[None]],
) -> str | None:
    """Have QEMU send its guest to a file; it stops for the last of it, until `go_on`.

    :param target: the file, empty, which can be written.
    :param freeze: has the guest freeze what runs in it; called when little is left to be sent.
    :param standing: called when the guest stands, and not all of it is in the file.
    :return: as `save` does.
    :raises TemplateError: QEMU says that it cannot.
    """
    await _set(qmp, {"pause-before-switchover": True, **_mapped(qmp)})
    limits: dict[str, object] = {"max-bandwidth": _BANDWIDTH, "downtime-limit": _NO_PAUSE_MS}
    await qmp.request("migrate-set-parameters", limits)
    with qmp.listener(_EVENTS) as events:
        await _begin(qmp, target)
        frozen = asyncio.Event()
        freezing = asyncio.create_task(_freeze_late(qmp, freeze, frozen))
        try:
            status = await _status(events, {_STANDING, *_ENDED})
            if status == _STANDING and not frozen.is_set():
                # It stands already, and cannot say that all is frozen: once more, with that first.
                await go_on(qmp)
                await _status(events, _ENDED)
                await freezing
                os.ftruncate(target, 0)
                os.lseek(target, 0, os.SEEK_SET)
                await _begin(qmp, target)
                status = await _status(events, {_STANDING, *_ENDED})
            if status == _STANDING:
                await freezing
                await standing()
                await qmp.request("migrate-continue", {"state": _STANDING})
                status = await _status(events, _ENDED)
        finally:
            await cancel([freezing])
        return status


async def _begin(qmp: Client, target: int) -> None:
    """Have QEMU begin to send its guest to a file."""
    by_name = qmp.version >= MAPPED_RAM
    uri = f"file:{await qmp.lend(target)}" if by_name else await qmp.give("guest", target)
    await qmp.request("migrate", {"uri": uri})


async def _freeze_late(
    qmp: Client, freeze: Callable[[], Awaitable[None]], frozen: asyncio.Event
) -> None:
    """Freeze what runs in a guest that is being sent when little is left, or it stands already.

    Then it may stand at once, and for as long as it takes.
    """
    while await _is_early(qmp):  # noqa: ASYNC110 - QEMU has no event
        await asyncio.sleep(_INTERVAL)
    await freeze()
    frozen.set()
    await qmp.request("migrate-set-parameters", {"downtime-limit": _ANY_PAUSE_MS})


async def _is_early(qmp: Client) -> bool:
    answer = await qmp.execute("query-migrate")
    status = field(answer, str, "status")
    if status == "active":
        left, total = (field(answer, int, "ram", name) for name in ("remaining", "total"))
        return left > min(_LATE, total // 2)
    return status == "setup"


async def go_on(qmp: Client) -> None:
    """Have the guest go on that was sent, or was to be.

    :raises QMPError: QEMU has ended.
    """
    await qmp.execute("migrate_cancel")
    # QEMU says that it has sent a guest just before it has got so far itself.
    while (await _run_state(qmp)) == "finish-migrate":  # noqa: ASYNC110 - QEMU has no event
        await asyncio.sleep(_INTERVAL)
    await qmp.execute("cont")
    await qmp.take_back()


async def _run_state(qmp: Client) -> str:
    return field(await qmp.execute("query-status"), str, "status")


async def _set(qmp: Client, wanted: Mapping[str, bool]) -> None:
    every = {"events": True, IGNORE_SHARED: False, "pause-before-switchover": False}
    if qmp.version >= MAPPED_RAM:
        every["mapped-ram"] = False
    listed = [{"capability": name, "state": state} for name, state in {**every, **wanted}.items()]
    await qmp.request("migrate-set-capabilities", {"capabilities": listed})


def _mapped(qmp: Client) -> Mapping[str, bool]:
    """Return what has each page at a place of its own, and those of zeros at none."""
    return {"mapped-ram": True} if qmp.version >= MAPPED_RAM else {}


async def _status(events: EventListener, awaited: set[str]) -> str | None:
    """Return the first of these that a migration comes to, by its events; None if QEMU ends."""
    async for event in events:
        status = field(event, str, "data", "status")
        if status in awaited:
            return status
    return None
