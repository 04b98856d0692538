"""A cell of a notebook, run by a command in a machine: its output as it comes, and its end."""

from __future__ import annotations

import asyncio
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from signal import SIGINT
from subprocess import PIPE

from microvm.concurrency.tasks import cancel
from microvm.guest.process import Process
from microvm.options import ExecOptions
from microvm.sync import AttachedVM, MicroVM

# What a command may do once it has got a Ctrl-C: for so long, in seconds, and so much, in bytes.
_GRACE = 5.0
_LAST_OUTPUT = 1 << 20

# What comes within this time, in seconds, is shown together: a kernel drops messages if there are
# too many, the last one of a cell among them.
_PAUSE = 0.02
_CHUNK = 1 << 18

STDOUT, STDERR = 1, 2

Write = Callable[[int, str], object]
"""Takes the number of a stream, `STDOUT` or `STDERR`, and text that has come on it."""


def run(
    vm: MicroVM | AttachedVM,
    argv: Sequence[str],
    options: ExecOptions,
    cell: str | None,
    write: Write,
) -> int:
    """Run a command to its end, and return its return code, -N when signal N ended it.

    A Ctrl-C goes to the command, and is raised when that has ended: killed, if that takes it too
    long, or with a second Ctrl-C.

    :param cell: what the command reads on its standard input, if anything.
    :param write: is called in this thread.
    :raises MicroVMError: as `MicroVM.run` does.
    """
    loop, machine = vm._loop, vm._machine
    how: ExecOptions = {**options, "stdin": None if cell is None else PIPE}
    process = loop.run(machine.exec(argv, **how))
    text = _Text(write)
    try:
        output = _output(process, (cell or "").encode("utf-8", "replace"))
        try:
            while (came := loop.run(_next(output))) is not None:
                text.add(*came)
        except KeyboardInterrupt:
            for last in loop.run(_interrupted(process, output)):
                text.add(*last)
            raise
        return loop.run(process.wait())
    finally:
        text.end()
        loop.post(process.__aexit__)


class _Text:
    """The text of bytes that come in pieces, on two streams."""

    def __init__(self, write: Write) -> None:
        self._write = write
        make = getincrementaldecoder("utf-8")
        self._decoders = {number: make(errors="replace") for number in (STDOUT, STDERR)}

    def add(self, number: int, data: bytes) -> None:
        if text := self._decoders[number].decode(data):
            self._write(number, text)

    def end(self) -> None:
        for number, decoder in self._decoders.items():
            if text := decoder.decode(b"", final=True):
                self._write(number, text)


Output = AsyncGenerator[tuple[int, bytes], None]


async def _next(output: Output) -> tuple[int, bytes] | None:
    return await anext(output, None)


async def _output(process: Process, data: bytes = b"") -> Output:
    """Feed a command, and yield what it writes: the number of the stream, and at least a byte."""
    feeding = asyncio.create_task(process.feed_all(data))
    streams = {STDOUT: process.stdout, STDERR: process.stderr}
    reading: dict[asyncio.Task[bytes], int] = {}
    try:
        while streams:
            for number in streams.keys() - reading.values():
                reading[asyncio.create_task(streams[number].read(_CHUNK))] = number
            done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                number = reading.pop(task)
                if chunk := task.result():
                    yield number, chunk
                else:
                    del streams[number]
            if streams:
                await asyncio.sleep(_PAUSE)
    finally:
        await cancel([feeding, *reading])


async def _interrupted(process: Process, output: Output) -> list[tuple[int, bytes]]:
    """Have a command interrupted, and return what it writes before it ends.

    :param output: what has given its output until now.
    """
    process.send_signal(SIGINT)
    await output.aclose()  # there is one reader at a time
    came: list[tuple[int, bytes]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE), aclosing(_output(process)) as rest:
            async for each in rest:
                came.append(each)
                if sum(len(chunk) for _, chunk in came) > _LAST_OUTPUT:
                    break
    return came
