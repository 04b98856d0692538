"""The start of a named machine from Python: the function behind `MicroVM.start_named`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from microvm.concurrency.threads import in_thread
from microvm.errors import UsageError
from microvm.images import Image, readymade
from microvm.machine.snapshot import Snapshot
from microvm.option import parse_options
from microvm.options import MachineOptions
from microvm.printable import quoted
from microvm.supervisor.client.start import CLEANUP_TIMEOUT, Start
from microvm.supervisor.names import NAME_RULE
from microvm.supervisor.runtime_directory import is_name
from microvm.units import Duration, parse_duration

# The parameters of `MicroVM.start_named` that are no `MachineOptions`.
_PARAMETERS = ("name", "image", "idle_timeout", "max_age")
# The options that apply to this process, and not to the machine.
_OWN = ("notify", "wait")


async def start_named(
    name: str | None,
    image: Image | Snapshot | str | Path | None,
    options: Mapping[str, object],
    idle_timeout: Duration | None,
    max_age: Duration | None,
) -> str:
    """Start a named machine with `MachineOptions`, and return its name.

    See `MicroVM.start_named`.
    """
    if name is not None and not is_name(name):
        raise UsageError(f"{quoted(name)} cannot be the name of a machine: {NAME_RULE}")
    parsed = parse_options(MachineOptions, options, "start_named", *_PARAMETERS)
    notify = parsed["notify"]
    order: dict[str, Any] = {
        "image": None,
        "snapshot": None,
        "options": {key: _plain(value) for key, value in options.items() if key not in _OWN},
        "idle_timeout": None if idle_timeout is None else parse_duration(idle_timeout),
        "max_age": None if max_age is None else parse_duration(max_age),
    }
    if isinstance(image, Snapshot):
        if image.name is None:
            raise UsageError("a named machine starts only from a snapshot that has a name")
        order["snapshot"] = image.name
    else:
        order["image"] = str((await readymade.find_or_build(image, notify, parsed["arch"])).path)
    return await _started(Start(name), order, notify)


async def _started(begun: Start, order: dict[str, Any], notify: Callable[[str], object]) -> str:
    """Wait until a machine has started. If the task is cancelled, cancel the start."""
    loop = asyncio.get_running_loop()

    def send() -> None:
        with begun:
            begun.order(**order, notify=lambda text: loop.call_soon_threadsafe(notify, text))

    thread = asyncio.ensure_future(in_thread(send))
    try:
        await asyncio.shield(thread)
    except asyncio.CancelledError:
        begun.abort()
        await asyncio.wait([thread], timeout=CLEANUP_TIMEOUT)
        if not thread.cancel():
            thread.exception()  # retrieve the error, because asyncio would otherwise log it
        raise
    return begun.name


def _plain(value: Any) -> Any:
    """Return the value of an option in a form that JSON supports."""
    return str(value) if isinstance(value, Path) else value
