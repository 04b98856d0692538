"""A command that runs in a guest, and what is left of it."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM
from subprocess import CalledProcessError
from typing import Any, Self

from microvm import codec
from microvm.errors import ExecKilled, ExecTimeout, MachineError, OutputLimit, StartError
from microvm.session import STDIN_CHUNK, WINDOW

# A chunk below this is copied to the one before it: as a view it would keep alive all that was read
# from the port with it, and a guest could make a window of such views take gigabytes.
_SMALL = 1 << 14


@dataclass(frozen=True, slots=True)
class CompletedProcess:
    """A command that has ended; named and shaped after `subprocess.CompletedProcess`.

    :ivar args: the command line.
    :ivar returncode: its exit code, or -N when signal N ended it.
    :ivar stdout: all that it wrote there: bytes, or str where text was asked for, or None where
        nothing was captured.
    :ivar stderr: the same.
    """

    args: tuple[str | bytes, ...]
    returncode: int
    # Any, as in typeshed's subprocess: which it is depends on what the caller has asked for.
    stdout: Any
    stderr: Any

    def check_returncode(self) -> None:
        """Raise `subprocess.CalledProcessError` unless the exit code is 0."""
        if self.returncode:
            raise CalledProcessError(self.returncode, self.args, self.stdout, self.stderr)


class OutputStream:
    """What a command writes to one of its streams, as it comes.

    Iterate over it with `async for` to get chunks, `read` it, or take it by `readline`. The guest
    may be ahead of the reader by :data:`microvm.session.WINDOW` bytes; then the command waits, as
    it does on a full pipe.
    """

    def __init__(self, consumed: Callable[[int], None]) -> None:
        """Call `consumed` with each number of bytes that the reader has taken."""
        self._consumed = consumed
        self._chunks: deque[bytearray | bytes | memoryview] = deque()
        self._ended = False
        self._error: MachineError | None = None
        self._keep: int | None = None
        self._part = b""  # a chunk that was read in part
        self._at = 0
        self._wake = asyncio.Event()

    def __aiter__(self) -> Self:
        """Iterate over the chunks, each at least one byte."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk.

        :raise MachineError: the machine died, and all that came before has been read.
        """
        if chunk := await self.next_chunk():
            return bytes(chunk)
        raise StopAsyncIteration

    async def next_chunk(self) -> bytearray | bytes | memoryview:
        """Return the next chunk without a copy; empty at the end. Raises as `__anext__` does."""
        if self._at < len(self._part):
            rest, self._part = self._part[self._at :], b""
            return rest
        while not self._chunks:
            if self._error:
                raise self._error
            if self._ended:
                return b""
            self._wake.clear()
            await self._wake.wait()
        chunk = self._chunks.popleft()
        if self._keep is None:
            self._consumed(len(chunk))
        return chunk

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes as soon as there are any, by default all up to the end."""
        if size >= 0:
            return self._cut(self._at + size) if size and await self._has_part() else b""
        chunks = []
        while chunk := await self.next_chunk():
            chunks.append(chunk)
        return b"".join(chunks)

    async def readline(self) -> bytes:
        r"""Return one line with its `\n`; what is left at the end without one; then nothing.

        A line has no bound of its own: `max_output` gives one to a command that is not trusted.
        """
        pieces = []
        while await self._has_part():
            end = self._part.find(b"\n", self._at) + 1
            pieces.append(self._cut(end or len(self._part)))
            if end:
                break
        return b"".join(pieces)

    async def _has_part(self) -> bool:
        """Take the next chunk to be read in parts, when the last one is used up."""
        if self._at >= len(self._part):
            self._part, self._at = bytes(await self.next_chunk()), 0
        return bool(self._part)

    def _cut(self, end: int) -> bytes:
        piece = self._part[self._at : end]
        self._at += len(piece)
        return piece

    def feed(self, data: bytes | memoryview, dropped: int = 0) -> None:
        """Add what the guest sent, of which `dropped` bytes more are not wanted."""
        if dropped:
            self._consumed(dropped)
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


class InputStream:
    """A command's standard input; used as `asyncio.StreamWriter` is."""

    def __init__(
        self, send: Callable[[bytes | memoryview], None], credit: Callable[[], int]
    ) -> None:
        """Send frames of data by `send`, as far as `credit` allows; an empty one is the end."""
        self._send = send
        self._credit = credit
        self._pending: deque[memoryview] = deque()
        self._closing = False
        self._sent_end = False
        self._refused = False
        self._drained = asyncio.Event()
        self._drained.set()

    def write(self, data: bytes | memoryview) -> None:
        """Queue bytes; call `drain` after it, or the queue has no bound."""
        if data and not self._closing and not self._refused:
            view = memoryview(data)
            # They are sent as they are, perhaps later; so what can change is copied.
            self._pending.append(view if view.readonly else memoryview(bytes(view)))
            self._drained.clear()
            self.flush()

    async def drain(self) -> None:
        """Wait until everything is on its way to the guest.

        :raise BrokenPipeError: the command has closed its standard input, or has ended.
        """
        await self._drained.wait()
        if self._refused:
            raise BrokenPipeError("the command takes no more input")

    def close(self) -> None:
        """Mark the end; what was written before still goes out."""
        self._closing = True
        self.flush()

    def is_closing(self) -> bool:
        """Whether no more can be written."""
        return self._closing or self._refused

    def flush(self) -> None:
        """Send what there is credit for."""
        while self._pending and (size := min(self._credit(), STDIN_CHUNK)):
            data = self._pending.popleft()
            self._send(data[:size])
            if len(data) > size:
                self._pending.appendleft(data[size:])
        if not self._pending:
            self._drained.set()
            if self._closing and not self._sent_end and not self._refused:
                self._sent_end = True
                self._send(b"")

    def refuse(self) -> None:
        """Drop everything: nobody reads it any more."""
        self._refused = True
        self._pending.clear()
        self._drained.set()


class Process:
    """A running command; `MicroVM.exec` starts one.

    ::

        async with await vm.exec(["cat"], stdin=PIPE) as process:
            ...

    When such a block is left, by an exception, a cancellation or `break`, whatever still runs is
    killed, and the machine is free for the next command. Without one, a cancelled `wait` or read
    leaves the command running, as in `asyncio.subprocess`, and the machine busy.

    :ivar args: the command line.
    :ivar stdin: its standard input, where a pipe or a terminal was asked for.
    :ivar stdout: its standard output; all of a terminal's.
    :ivar stderr: its standard error.
    """

    def __init__(
        self,
        args: Sequence[str | bytes],
        *,
        stdin: InputStream | None,
        send_signal: Callable[[int], None],
        resize: Callable[[int, int], None],
        abandon: Callable[[Process], None],
        consumed: Callable[[codec.Stream, int], None],
        max_output: int | None,
    ) -> None:
        """Made by the guest, which also feeds it."""
        self.args = tuple(args)
        self.stdin = stdin
        self.stdout = OutputStream(lambda amount: consumed(codec.Stream.STDOUT, amount))
        self.stderr = OutputStream(lambda amount: consumed(codec.Stream.STDERR, amount))
        self._send_signal = send_signal
        self._resize = resize
        self._abandon = abandon
        self._max_output = max_output
        self._output = 0
        self._returncode: int | None = None
        self._error: MachineError | StartError | ExecKilled | None = None
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._ended.is_set():
            self.abandon()
            await self._ended.wait()  # a kill has a deadline

    @property
    def returncode(self) -> int | None:
        """The exit code, -N when signal N ended it, or None while it runs.

        Without a status of its own, that of the error which `wait` raises: 127 or 126 for a command
        that could not be started, 125 when the machine died.
        """
        return self._returncode

    @property
    def name(self) -> str:
        """The command, for messages."""
        return os.fsdecode(self.args[0]).encode(errors="backslashreplace").decode()

    async def wait(self) -> int:
        """Wait for its end, and return the return code.

        Its output is held back when nobody reads it, so read `stdout` and `stderr` meanwhile.

        :raise StartError: it could not be started.
        :raise ExecTimeout: it ran past its deadline, and was killed.
        :raise OutputLimit: it wrote more than it may, and was killed.
        :raise MachineError: the machine died under it.
        """
        await self._ended.wait()
        if self._error:
            raise self._error
        assert self._returncode is not None  # noqa: S101 - it has ended, and without an error
        return self._returncode

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        """Feed `input` and the end to its standard input, and read its output to the end.

        Like `asyncio.subprocess.Process.communicate`, it does not mind a command that takes less.
        Cancelling it kills the command, since what it has read by then is lost.

        :raise StartError: and what else `wait` raises.
        """
        async with self:
            output = await self.collect(input)
            await self.wait()
        return output

    async def collect(self, data: bytes | None) -> tuple[bytes, bytes]:
        """Feed and read as `communicate` does; how the command ended is left to `wait`.

        :raise MachineError: the machine died under it.
        """
        _, stdout, stderr = await asyncio.gather(
            self.feed_all(data), self.stdout.read(), self.stderr.read()
        )
        return stdout, stderr

    async def feed_all(self, data: bytes | None) -> None:
        """Feed data and the end to its standard input, as far as it takes them."""
        if self.stdin is None:
            return
        with suppress(BrokenPipeError):
            self.stdin.write(data or b"")
            self.stdin.close()
            await self.stdin.drain()

    def send_signal(self, signal: int) -> None:
        """Send a signal to its process group; nothing happens when it has ended."""
        if not self._ended.is_set():
            self._send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM to its process group."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Kill it and everything that it has started."""
        self.send_signal(SIGKILL)

    def abandon(self) -> None:
        """Kill it, and drop the output that nobody will read; the machine is free when it is gone.

        If it is not gone within :data:`microvm.guest.KILL_TIMEOUT`, the machine is lost.
        """
        self._abandon(self)

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal its size; nothing happens without one, or when it has ended."""
        if not self._ended.is_set():
            self._resize(rows, columns)

    def release(self, keep: int) -> None:
        """Hold it back no more, whoever reads: keep `keep` bytes more of each stream."""
        self.stdout.release(keep)
        self.stderr.release(keep)

    def condemn(self, error: ExecKilled) -> None:
        """Note why it is about to be killed; output that it has written already is kept."""
        self._error = self._error or error
        self.release(WINDOW)

    def feed(self, message: codec.ExecOutput) -> bool:
        """Add output that the guest sent; False when that is more than it may write."""
        data = message.data
        if self._max_output is not None:
            data = data[: self._max_output - self._output]
            self._output += len(data)
        stream = self.stdout if message.stream is codec.Stream.STDOUT else self.stderr
        stream.feed(data, len(message.data) - len(data))
        return len(data) == len(message.data)

    def over_limit(self) -> OutputLimit:
        """The error for a command that has written more than it may."""
        return OutputLimit(self.name, self._max_output or 0)

    def over_time(self, timeout: float) -> ExecTimeout:
        """The error for a command that has run too long."""
        return ExecTimeout(self.name, timeout)

    def finish(self, message: codec.ExecResponse | codec.ExecFailed) -> None:
        """Note how it ended."""
        if isinstance(message, codec.ExecResponse):
            signalled = message.ending is codec.Ending.SIGNALLED
            self._returncode = -message.status if signalled else message.status
        else:
            stage = message.stage
            name = stage.name.lower() if isinstance(stage, codec.Stage) else f"stage {stage}"
            self._error = StartError(name, message.error_number, self.name)
            self._returncode = self._error.exit_status
        self._close(None)

    def lose(self, error: MachineError) -> None:
        """Note that the machine is gone."""
        if not self._ended.is_set():
            self._error = error
            self._returncode = error.exit_status
            self._close(error)

    def _close(self, error: MachineError | None) -> None:
        if self.stdin is not None:
            self.stdin.refuse()
        self.stdout.end(error)
        self.stderr.end(error)
        self._ended.set()
