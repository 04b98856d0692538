"""The public class `Process` for programs without `async`."""

from __future__ import annotations

from typing import Self

from microvm.concurrency.loop import BackgroundLoop
from microvm.guest import process
from microvm.sync.bound import LoopBound
from microvm.sync.streams import InputStream, OutputStream


class Process(LoopBound):
    """A running command; see `microvm.Process`. `MicroVM.exec` returns it.

    ::

        with vm.exec(["yes"]) as process:
            first = next(iter(process.stdout))
    """

    def __init__(self, loop: BackgroundLoop, running: process.Process) -> None:
        super().__init__(loop)
        self._process = running
        self.args = running.args
        self.stdin = InputStream(loop, running.stdin) if running.stdin else None
        self.stdout = OutputStream(loop, running.stdout)
        self.stderr = OutputStream(loop, running.stderr)

    def __repr__(self) -> str:
        return repr(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._loop.closed:
            self._do(self._process.__aexit__(*exception))

    @property
    def returncode(self) -> int | None:
        """The exit status, -N if signal N killed the command, or None while it runs."""
        return self._process.returncode

    @property
    def memory(self) -> int | None:
        """The peak memory of the command in bytes; see `microvm.Process.memory`."""
        return self._process.memory

    def poll(self) -> int | None:
        """Return the return code, or None while the command runs."""
        return self.returncode

    def wait(self) -> int:
        """Wait until the command exits, and return its return code; see `microvm.Process.wait`."""
        return self._do(self._process.wait())

    def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        """Send input, and read all output; see `microvm.Process.communicate`."""
        return self._do(self._process.communicate(input))

    def send_signal(self, signal: int) -> None:
        """Send a signal to the process group of the command, unless it has exited."""
        self._call(self._process.send_signal, signal)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the terminal of the command, unless it has exited or has no terminal."""
        self._call(self._process.resize, rows, columns)

    def abandon(self) -> None:
        """Kill the command, and discard its output; see `microvm.Process.abandon`."""
        self._call(self._process.abandon)

    def terminate(self) -> None:
        """Send SIGTERM to the process group of the command."""
        self._call(self._process.terminate)

    def kill(self) -> None:
        """Kill the command and all processes that it has started."""
        self._call(self._process.kill)
