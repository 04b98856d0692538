"""A command in a sandbox of Inspect AI whose output arrives while it runs."""

from __future__ import annotations

import asyncio
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from errno import EFBIG

from microvm import Process
from microvm.errors import FileError, MachineError, OutputLimit, StartError
from microvm.frameworks.versions import supported
from microvm.jobs.ending import status

with supported("inspect"):
    from inspect_ai import util
    from inspect_ai.util import SandboxEnvironmentLimits as Limits

RemoteOptions = util.ExecRemoteStreamingOptions | util.ExecRemoteAwaitableOptions


class RemoteProcess(util.ExecRemoteProcess):
    """A running command. If nobody reads its output, the command waits."""

    def __init__(
        self,
        sandbox: util.SandboxEnvironment,
        cmd: list[str],
        options: RemoteOptions,
        process: Process,
    ) -> None:
        """Follow a command that has started, and write its first input."""
        super().__init__(sandbox, cmd, options, sandbox.default_polling_interval())
        self._process = process
        self._events = self._follow()
        assert process.stdin is not None  # noqa: S101 - a pipe was requested
        self._stdin = process.stdin
        if options.input:
            self._stdin.write(encoded(options.input))
        if not getattr(options, "stdin_open", False):
            self._stdin.close()

    async def __anext__(self) -> util.ExecOutput:
        if self._pending_events:
            return self._pending_events.pop(0)
        with expected_errors():
            return await anext(self._events)

    async def write_stdin(self, data: str | bytes) -> None:
        self._stdin.write(encoded(data))
        await self._stdin.drain()

    async def close_stdin(self) -> None:
        self._stdin.close()

    async def kill(self) -> None:
        if self._killed or self._process.returncode is not None:
            return
        self._killed = True
        self._process.kill()
        if not self._iteration_started:
            self._pending_events = [event async for event in self._events]

    async def _follow(self) -> AsyncGenerator[util.ExecOutput, None]:
        """Yield the output as it arrives, and then the exit code of a command that was not killed.

        A command that still runs when the generator is cancelled or closed is killed.
        """
        decoder = getincrementaldecoder("utf-8")
        streams = (
            (self._process.stdout, util.ExecStdout, decoder("replace")),
            (self._process.stderr, util.ExecStderr, decoder("replace")),
        )
        reads = {asyncio.ensure_future(each[0].next_chunk()): each for each in streams}
        try:
            while reads:
                done, _ = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
                for read in done:
                    stream, kind, decode = each = reads.pop(read)
                    chunk = read.result()
                    if chunk:
                        reads[asyncio.ensure_future(stream.next_chunk())] = each
                    if text := decode.decode(bytes(chunk), final=not chunk):
                        yield kind(text)
            try:
                code = status(await self._process.wait(), None)
            except StartError as error:
                code = error.exit_status
                yield util.ExecStderr(f"{error}\n")
            if not self._killed:
                yield util.ExecCompleted(code)
        finally:
            for read in reads:
                read.cancel()
            self._process.abandon()


@contextmanager
def expected_errors() -> Iterator[None]:
    """Convert errors to those that Inspect expects."""
    try:
        yield
    except MachineError as error:
        raise util.SandboxUnavailableError(str(error)) from error
    except OutputLimit as error:
        limit = Limits.MAX_EXEC_OUTPUT_SIZE_STR
        raise util.OutputLimitExceededError(limit, decoded(error.stdout + error.stderr)) from error
    except FileError as error:
        if error.errno != EFBIG:
            raise
        raise util.OutputLimitExceededError(Limits.MAX_READ_FILE_SIZE_STR, None) from error


def encoded(data: str | bytes) -> bytes:
    """Return text as UTF-8."""
    return data.encode() if isinstance(data, str) else data


def decoded(data: bytes) -> str:
    """Return output as text; U+FFFD replaces invalid bytes."""
    return data.decode(errors="replace")
