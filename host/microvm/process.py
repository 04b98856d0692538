"""A command that runs in a guest, and what is left of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM
from subprocess import CalledProcessError
from typing import Self

from microvm import codec
from microvm.errors import ExecTimeout, MachineError, StartError
from microvm.session import WINDOW

# A chunk below this is copied to the one before it: as a view it would keep alive all that was read
# from the port with it, and a guest could make a window of such views take gigabytes.
_SMALL = 1 << 14


@dataclass(frozen=True, slots=True)
class CompletedProcess:
    """A command that has ended; named and shaped after `subprocess.CompletedProcess`.

    :ivar args: the command line.
    :ivar returncode: its exit code, or -N when signal N ended it.
    :ivar stdout: all that it wrote there.
    :ivar stderr: all that it wrote there.
    """

    args: tuple[str | bytes, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    def check_returncode(self) -> None:
        """Raise `subprocess.CalledProcessError` unless the exit code is 0."""
        if self.returncode:
            raise CalledProcessError(self.returncode, self.args, self.stdout, self.stderr)


class OutputStream:
    """What a command writes to one of its streams, as it comes.

    Iterate over it with `async for` to get chunks of bytes, or `read` all of it. The guest may be
    ahead of the reader by :data:`microvm.session.WINDOW` bytes; then the command waits, as it does
    on a full pipe.
    """

    def __init__(self, consumed: Callable[[int], None]) -> None:
        """Call `consumed` with each number of bytes that the reader has taken."""
        self._consumed = consumed
        self._chunks: deque[bytearray | bytes | memoryview] = deque()
        self._ended = False
        self._error: MachineError | None = None
        self._keep: int | None = None
        self._wake = asyncio.Event()

    def __aiter__(self) -> Self:
        """Iterate over the chunks, each at least one byte."""
        return self

    async def __anext__(self) -> bytes | memoryview:
        """Return the next chunk.

        :raise MachineError: the machine died, and all that came before has been read.
        """
        while not self._chunks:
            if self._error:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        chunk = self._chunks.popleft()
        chunk = bytes(chunk) if isinstance(chunk, bytearray) else chunk
        if self._keep is None:
            self._consumed(len(chunk))
        return chunk

    async def read(self) -> bytes:
        """Return everything up to the end."""
        return b"".join([chunk async for chunk in self])

    def feed(self, data: bytes | memoryview) -> None:
        """Add what the guest sent."""
        if self._keep is not None:
            self._consumed(len(data))
            data = data[: self._keep]
            self._keep -= len(data)
        if not data:
            return
        last = self._chunks[-1] if self._chunks else None
        if len(data) >= _SMALL:
            self._chunks.append(data)
        elif isinstance(last, bytearray) and len(last) < _SMALL:
            last += data
        else:
            self._chunks.append(bytearray(data))
        self._wake.set()

    def release(self, keep: int) -> None:
        """Hold the command back no more: take all that comes, and keep `keep` bytes of it."""
        if self._keep is None:
            self._consumed(sum(map(len, self._chunks)))
            self._keep = keep

    def end(self, error: MachineError | None = None) -> None:
        """Add the end, or what ended it early."""
        self._ended = True
        self._error = error
        self._wake.set()


class Process:
    """A running command; `MicroVM.exec` starts one.

    :ivar args: the command line.
    :ivar stdout: its standard output.
    :ivar stderr: its standard error.
    """

    def __init__(
        self,
        args: Sequence[str | bytes],
        *,
        send_signal: Callable[[int], None],
        consumed: Callable[[codec.Stream, int], None],
    ) -> None:
        """Made by the machine, which also feeds it."""
        self.args = tuple(args)
        self.stdout = OutputStream(lambda amount: consumed(codec.Stream.STDOUT, amount))
        self.stderr = OutputStream(lambda amount: consumed(codec.Stream.STDERR, amount))
        self._send_signal = send_signal
        self._returncode: int | None = None
        self._error: MachineError | StartError | None = None
        self._timeout: float | None = None
        self._ended = asyncio.Event()

    @property
    def returncode(self) -> int | None:
        """The exit code, -N when signal N ended it, or None while it runs."""
        return self._returncode

    @property
    def name(self) -> str:
        """The command, for messages."""
        first = self.args[0]
        return first if isinstance(first, str) else first.decode(errors="backslashreplace")

    async def wait(self) -> int:
        """Wait for its end, and return the return code.

        Its output is held back when nobody reads it, so read `stdout` and `stderr` meanwhile.

        :raise StartError: it could not be started.
        :raise ExecTimeout: it ran past its deadline, and was killed.
        :raise MachineError: the machine died under it.
        """
        await self._ended.wait()
        if self._error:
            raise self._error
        if self._timeout is not None:
            raise ExecTimeout(self.name, self._timeout)
        assert self._returncode is not None  # noqa: S101 - it has ended, and without an error
        return self._returncode

    def send_signal(self, signal: int) -> None:
        """Send a signal to its process group; nothing happens when it has ended."""
        if not self._ended.is_set():
            self._send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM to its process group."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to its process group."""
        self.send_signal(SIGKILL)

    def abandon(self) -> None:
        """Kill it and drop what it still writes."""
        self.stdout.release(0)
        self.stderr.release(0)
        self.kill()

    def expire(self, timeout: float) -> None:
        """Kill it because its time is over; output that it has written already is kept."""
        self._timeout = timeout
        self.stdout.release(WINDOW)
        self.stderr.release(WINDOW)
        self.kill()

    def feed(self, message: codec.ExecOutput) -> None:
        """Add output that the guest sent."""
        stream = self.stdout if message.stream is codec.Stream.STDOUT else self.stderr
        stream.feed(message.data)

    def finish(self, message: codec.ExecResponse | codec.ExecFailed) -> None:
        """Note how it ended."""
        if isinstance(message, codec.ExecResponse):
            signalled = message.ending is codec.Ending.SIGNALLED
            self._returncode = -message.status if signalled else message.status
        else:
            stage = message.stage
            name = stage.name.lower() if isinstance(stage, codec.Stage) else f"stage {stage}"
            self._error = StartError(name, message.error_number, self.name)
        self._close(None)

    def lose(self, error: MachineError) -> None:
        """Note that the machine is gone."""
        if not self._ended.is_set():
            self._error = error
            self._close(error)

    def _close(self, error: MachineError | None) -> None:
        self.stdout.end(error)
        self.stderr.end(error)
        self._ended.set()
