"""Runs the cells of a visitor, and describes each event as a value that can be sent as JSON."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import TypeAlias

from anyio import create_memory_object_stream
from anyio.streams.memory import MemoryObjectSendStream
from visitors import Visitor

from microvm import Cell, Display, InterpreterDied, MachineError

TIMEOUT = 60.0  # maximum number of seconds that a cell may run; a first figure can take ten
GRACE = 5.0  # number of seconds until an interrupted cell is killed
MAX_OUTPUT = "4M"  # maximum size of the output and the pictures of a cell
MAX_PIXELS = 4096  # maximum width and height of a picture
READ_TIMEOUT = 20.0  # a browser that reads nothing for so many seconds ends the cell
RESTARTED = "Python was started again, without your variables."

Event: TypeAlias = dict[str, str]
"""An event of a cell: its name, such as `stdout`, and its text."""


async def events(visitor: Visitor, code: str) -> AsyncIterator[Event]:
    """Run a cell, and iterate over its events. If the iteration ends early, so does the cell."""
    sending, receiving = create_memory_object_stream[Event](16)
    task = asyncio.create_task(_run(visitor, code, sending))
    try:
        with receiving:
            async for event in receiving:
                yield event
        await task
    finally:
        task.cancel()


async def _run(visitor: Visitor, code: str, events: MemoryObjectSendStream[Event]) -> None:
    """Run a cell. If the interpreter dies, start it again, unless the visitor is leaving."""

    async def send(name: str, text: str) -> None:
        async with asyncio.timeout(READ_TIMEOUT):
            await events.send({name: text})

    async def on_stdout(text: str) -> None:
        await send("stdout", text)

    async def on_stderr(text: str) -> None:
        await send("stderr", text)

    async def on_display(display: Display) -> None:
        if (png := display.png) is not None and is_picture(png):
            await send("png", base64.b64encode(png).decode())
        elif display.text and not display.is_result:
            await send("stdout", f"{display.text}\n")

    with events, visitor.request():
        async with visitor.lock:
            if visitor.is_leaving:
                await send("note", "Your session has ended. Reload the page.")
                return
            if visitor.needs_restart:
                await visitor.restart()
                await send("note", RESTARTED)
            try:
                cell = await visitor.python.run(
                    code,
                    timeout=TIMEOUT,
                    grace=GRACE,
                    max_output=MAX_OUTPUT,
                    on_stdout=on_stdout,
                    on_stderr=on_stderr,
                    on_display=on_display,
                )
            except (InterpreterDied, MachineError) as error:
                if visitor.is_leaving:
                    raise
                await visitor.restart()
                await send("note", f"{error.message}. {RESTARTED}")
                return
        if cell.error is not None:
            await send("error", cell.error.traceback)
        elif cell.result is not None:
            await send("result", cell.result)
        for note in notes(cell):
            await send("note", note)


def notes(cell: Cell) -> list[str]:
    """Return what the visitor should know about a cell besides its output."""
    found = []
    if cell.timed_out:
        found.append(f"The cell was interrupted after {TIMEOUT:g} s. Your variables remain.")
    if cell.killed:
        found.append("The processes that the cell had started were killed.")
    if cell.dropped:
        found.append(f"{cell.dropped} bytes of output exceeded {MAX_OUTPUT} and were dropped.")
    return found


def is_picture(data: bytes) -> bool:
    """Return whether data begin like a PNG of a bounded size.

    A small file can contain a huge picture, which would fill the browser's memory.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        return False
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return max(width, height) <= MAX_PIXELS
