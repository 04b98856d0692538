"""Migrates a guest through files: one QEMU writes the guest to them, another QEMU restores it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping

from qemu.qmp import EventListener

from microvm.concurrency.tasks import cancel
from microvm.qemu.command_line import IGNORE_SHARED, Memory, descriptor_path
from microvm.qemu.qmp import Client, field

#: The first QEMU version that can migrate to and from a path, and can map a read-only file as RAM.
#: Older versions migrate by descriptors, and can only map files that they may write.
FILE_MIGRATION = (8, 2)

#: The first QEMU version with the capability `mapped-ram`: in the file, each page has a fixed
#: position. So pages of zeros take no space, and a page that changes meanwhile is stored once.
MAPPED_RAM = (9, 0)

# Maximum time for which QEMU may pause the guest to send the rest of its memory, in milliseconds.
# Before the guest's processes are frozen, the limit is so low that QEMU seldom pauses the guest.
# When the processes are frozen, a pause does no harm.
_NO_PAUSE_MS = 1
_ANY_PAUSE_MS = 1_000_000

# Maximum number of bytes per second that QEMU sends: no limit, because we send to files.
_BANDWIDTH = 1 << 40

# The guest's processes are frozen when QEMU has at most this many bytes left to send, or half of
# the guest's memory if that is less. Freezing then usually completes before QEMU has sent the rest.
_LATE = 128 << 20

_INTERVAL = 0.002
_EVENTS = ("MIGRATION",)
_PAUSED = "pre-switchover"
_FINISHED = {"completed", "failed", "cancelled"}


async def receive(qmp: Client, sent: int) -> None:
    """Let this QEMU restore and run a guest from the file `sent`, to which another QEMU sent it.

    :param sent: Descriptor of the file, which QEMU has inherited.
    """
    await _set(qmp, _mapped(qmp))
    by_name = qmp.version >= MAPPED_RAM
    uri = f"file:{descriptor_path(sent)}" if by_name else f"fd:{sent}"
    await qmp.request("migrate-incoming", {"uri": uri})


async def save(qmp: Client, memory: Memory) -> str | None:
    """Let QEMU save its guest to the files of `memory`. After that, the guest stays paused.

    The caller must not pause the guest before, because a guest that is saved while paused would be
    paused when it is restored.

    :return: `completed`, or the status of the failed migration; None if QEMU has exited.
    :raises TemplateError: QEMU refuses a request.
    """
    await _set(qmp, {IGNORE_SHARED: True})
    by_name = qmp.version >= FILE_MIGRATION
    file = f"file:{descriptor_path(memory.state)}"
    uri = file if by_name else await qmp.send_descriptor("state", memory.state)
    with qmp.listener(_EVENTS) as events:
        await qmp.request("migrate", {"uri": uri})
        return await _status(events, _FINISHED)


async def send(
    qmp: Client,
    target: int,
    freeze: Callable[[], Awaitable[None]],
    on_paused: Callable[[], Awaitable[None]],
) -> str | None:
    """Let QEMU send its running guest to a file; call `on_paused` while the guest is paused.

    At the end, QEMU pauses the guest, until `resume` is called.

    :param freeze: Function that freezes the guest's processes; called when little of the guest's
        memory is left to send.
    :param on_paused: Function that is called when QEMU has paused the guest, before it sends the
        rest.
    :return: `completed`, or the status of the failed migration; None if QEMU has exited.
    :raises TemplateError: QEMU refuses a request.
    """
    await _set(qmp, {"pause-before-switchover": True, **_mapped(qmp)})
    limits: dict[str, object] = {"max-bandwidth": _BANDWIDTH, "downtime-limit": _NO_PAUSE_MS}
    await qmp.request("migrate-set-parameters", limits)
    with qmp.listener(_EVENTS) as events:
        await _begin(qmp, target)
        frozen = asyncio.Event()
        freezing = asyncio.create_task(_freeze_late(qmp, freeze, frozen))
        try:
            status = await _status(events, {_PAUSED, *_FINISHED})
            if status == _PAUSED and not frozen.is_set():
                # The guest had not frozen its processes when QEMU paused it. Let it continue until
                # it has frozen them, and then let QEMU send it to the file again.
                await resume(qmp)
                await _status(events, _FINISHED)
                await freezing
                os.ftruncate(target, 0)
                os.lseek(target, 0, os.SEEK_SET)
                await _begin(qmp, target)
                status = await _status(events, {_PAUSED, *_FINISHED})
            if status == _PAUSED:
                await freezing
                await on_paused()
                await qmp.request("migrate-continue", {"state": _PAUSED})
                status = await _status(events, _FINISHED)
        finally:
            await cancel([freezing])
        return status


async def _begin(qmp: Client, target: int) -> None:
    """Let QEMU start to send its guest to the file with the descriptor `target`."""
    if qmp.version >= MAPPED_RAM:
        uri = f"file:{await qmp.add_descriptor(target)}"
    else:
        uri = await qmp.send_descriptor("guest", target)
    await qmp.request("migrate", {"uri": uri})


async def _freeze_late(
    qmp: Client, freeze: Callable[[], Awaitable[None]], frozen: asyncio.Event
) -> None:
    """Call `freeze` when QEMU has little of the guest's memory left to send, and set `frozen` then.

    After that, QEMU may pause the guest for as long as it needs.
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


async def resume(qmp: Client) -> None:
    """Let the guest continue after `send`, whether the sending has completed or failed."""
    await qmp.execute("migrate_cancel")
    # QEMU refuses `cont` in the state `finish-migrate`. It may still be in this state shortly after
    # it has reported that the migration has completed, so wait until it leaves the state.
    while await qmp.run_state() == "finish-migrate":  # noqa: ASYNC110 - QEMU has no event
        await asyncio.sleep(_INTERVAL)
    await qmp.execute("cont")
    await qmp.remove_descriptors()


async def _set(qmp: Client, wanted: Mapping[str, bool]) -> None:
    every = {"events": True, IGNORE_SHARED: False, "pause-before-switchover": False}
    if qmp.version >= MAPPED_RAM:
        every["mapped-ram"] = False
    listed = [{"capability": name, "state": state} for name, state in {**every, **wanted}.items()]
    await qmp.request("migrate-set-capabilities", {"capabilities": listed})


def _mapped(qmp: Client) -> Mapping[str, bool]:
    """Return the setting that enables `mapped-ram`; empty if this version of QEMU lacks it."""
    return {"mapped-ram": True} if qmp.version >= MAPPED_RAM else {}


async def _status(events: EventListener, awaited: set[str]) -> str | None:
    """Wait until the status of the migration is in `awaited`, and return it; None if QEMU exits."""
    async for event in events:
        status = field(event, str, "data", "status")
        if status in awaited:
            return status
    return None
