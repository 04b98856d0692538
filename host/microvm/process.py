"""A command that runs in a guest, and what is left of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM
from subprocess import CalledProcessError
from typing import Any, Self

from microvm import codec
from microvm.errors import ExecKilled, ExecTimeout, MachineError, OutputLimit, StartError
from microvm.session import WINDOW
from microvm.streams import InputStream, OutputStream


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
