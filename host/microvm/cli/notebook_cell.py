"""Runs a cell of a notebook as a command in a machine, and reports its output while it runs."""

from __future__ import annotations

import asyncio
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from signal import SIGINT
from subprocess import PIPE

from microvm.concurrency.tasks import cancel
from microvm.guest.process import Process
from microvm.option import complete_options
from microvm.options import ExecOptions
from microvm.sync import AttachedVM, MicroVM

# Limits of a command after Ctrl-C, in seconds and in bytes of output. A command that exceeds one of
# them is killed.
_GRACE = 5.0
_LAST_OUTPUT = 1 << 20

# Interval in seconds at which output is shown. The output of an interval is sent as one message,
# because a notebook's kernel drops messages if there are too many, perhaps the last one of a cell.
PAUSE = 0.02
_CHUNK = 1 << 18

STDOUT, STDERR = 1, 2

Write = Callable[[int, str], object]
"""The type of functions that show output. Their arguments are `STDOUT` or `STDERR`, and text."""


def run_cell(
    vm: MicroVM | AttachedVM,
    argv: Sequence[str],
    options: ExecOptions,
    cell: str | None,
    write: Write,
) -> int:
    """Run the command `argv` with the input `cell`, pass its output to `write`; return its status.

    The status is the exit status, or -N if signal N killed the command.

    Ctrl-C is sent to the command. KeyboardInterrupt is raised when the command has exited. If the
    command does not exit soon, or if Ctrl-C is pressed again, the command is killed.

    :param cell: Standard input of the command, or None for no input.
    """
    loop, machine = vm._loop, vm._original
    options = {**options, "stdin": None if cell is None else PIPE}
    process = loop.run(machine._exec(argv, complete_options(ExecOptions, options)))
    text = OutputDecoder(write)
    try:
        output = _output(process, (cell or "").encode("utf-8", "replace"))
        try:
            while (chunk := loop.run(_next(output))) is not None:
                text.add(*chunk)
        except KeyboardInterrupt:
            for last in loop.run(_interrupted(process, output)):
                text.add(*last)
            raise
        return loop.run(process.wait())
    finally:
        text.end()
        loop.post(process.__aexit__)


class OutputDecoder:
    """A decoder of output into text, which keeps the bytes of a character until it is complete."""

    def __init__(self, write: Write) -> None:
        self._write = write
        make = getincrementaldecoder("utf-8")
        self._decoders = {number: make(errors="replace") for number in (STDOUT, STDERR)}

    def add(self, number: int, data: bytes) -> None:
        """Decode bytes of the stream `number`, and pass the complete characters to `write`."""
        if text := self._decoders[number].decode(data):
            self._write(number, text)

    def end(self) -> None:
        """Pass U+FFFD to `write` for each stream that ends with an incomplete character."""
        for number, decoder in self._decoders.items():
            if text := decoder.decode(b"", final=True):
                self._write(number, text)


Output = AsyncGenerator[tuple[int, bytes], None]


async def _next(output: Output) -> tuple[int, bytes] | None:
    return await anext(output, None)


async def _output(process: Process, data: bytes = b"") -> Output:
    """Send `data` to a command, and yield its output in chunks.

    Each chunk is yielded as a pair: the number of its stream, `STDOUT` or `STDERR`, and its bytes.
    """
    feeding = asyncio.create_task(process._feed_all(data))
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
                await asyncio.sleep(PAUSE)
    finally:
        await cancel([feeding, *reading])


async def _interrupted(process: Process, output: Output) -> list[tuple[int, bytes]]:
    """Send SIGINT to a command, close the iterator `output`, and return the rest of the output.

    :param output: Iterator that has read the output of the command until now.
    """
    process.send_signal(SIGINT)
    # Close the iterator `output`, because a stream can have only one reader, and a new iterator
    # reads the rest of the output.
    await output.aclose()
    chunks: list[tuple[int, bytes]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE), aclosing(_output(process)) as rest:
            async for each in rest:
                chunks.append(each)
                if sum(len(chunk) for _, chunk in chunks) > _LAST_OUTPUT:
                    break
    return chunks
