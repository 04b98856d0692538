"""The public classes `Process`, `OutputStream` and `InputStream` for programs without `async`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from microvm.concurrency.loop import BackgroundLoop
from microvm.guest import process, streams
from microvm.supervisor.client import detached
from microvm.sync.bound import LoopBound, blocking, in_loop


class OutputStream(LoopBound):
    """Standard output or standard error of a command; see `microvm.OutputStream`."""

    _original: streams.OutputStream

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks of the output, of at least one byte, as they arrive."""
        while chunk := bytes(self.next_chunk()):
            yield chunk

    read = blocking(streams.OutputStream.read)
    next_chunk = blocking(streams.OutputStream.next_chunk)
    readline = blocking(streams.OutputStream.readline)
    readuntil = blocking(streams.OutputStream.readuntil)
    readexactly = blocking(streams.OutputStream.readexactly)

    def at_eof(self) -> bool:
        """Return True if all output was read; see `microvm.OutputStream.at_eof`."""
        return self._original.at_eof()


class InputStream(LoopBound):
    """The standard input of a command; see `microvm.InputStream`."""

    _original: streams.InputStream

    def write(self, data: bytes) -> None:
        """Write bytes to the command's input, and wait while too many bytes are still unsent.

        :raises BrokenPipeError: If the command has closed its standard input or has exited.
        """
        self._do(self._write(data))

    async def _write(self, data: bytes) -> None:
        self._original.write(data)
        await self._original.drain()

    def is_closing(self) -> bool:
        """Return True if no more input can be written, because the input was or is being closed."""
        return self._original.is_closing()

    close = in_loop(streams.InputStream.close)


class Process(LoopBound):
    """A running command; see `microvm.Process`. `MicroVM.exec` returns it.

    ::

        with vm.exec(["yes"]) as process:
            first = next(iter(process.stdout))
    """

    _original: process.Process

    def _init(self, loop: BackgroundLoop, original: process.Process) -> Self:
        super()._init(loop, original)
        self.args = original.args
        self.stdin = InputStream._new()._init(loop, original.stdin) if original.stdin else None
        self.stdout = OutputStream._new()._init(loop, original.stdout)
        self.stderr = OutputStream._new()._init(loop, original.stderr)
        return self

    def __repr__(self) -> str:
        return repr(self._original)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._loop.closed:
            self._do(self._original.__aexit__(*exception))

    @property
    def returncode(self) -> int | None:
        """The return code, or None until it is known; see `microvm.Process.returncode`."""
        return self._original.returncode

    @property
    def memory(self) -> int | None:
        """The peak memory of the command in bytes; see `microvm.Process.memory`."""
        return self._original.memory

    def poll(self) -> int | None:
        """Return the return code, or None until it is known, like `subprocess.Popen.poll`."""
        return self.returncode

    wait = blocking(process.Process.wait)
    communicate = blocking(process.Process.communicate)
    send_signal = in_loop(process.Process.send_signal)
    resize = in_loop(process.Process.resize)
    abandon = in_loop(process.Process.abandon)
    terminate = in_loop(process.Process.terminate)
    kill = in_loop(process.Process.kill)


class DetachedProcess(Process):
    """A command that outlives its clients; see `microvm.DetachedProcess`."""

    _original: detached.DetachedProcess

    @property
    def id(self) -> int:
        """Id of the command, for `AttachedVM.process`."""
        return self._original.id

    @property
    def dropped(self) -> tuple[int, int]:
        """Number of bytes that the output lacks; see `microvm.DetachedProcess.dropped`."""
        return self._original.dropped
