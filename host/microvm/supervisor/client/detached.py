"""The public class `DetachedProcess`, and a client's connection to a detached command."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

from microvm.errors import UsageError
from microvm.guest.process import Process
from microvm.supervisor.client import protocol
from microvm.supervisor.client.remote_command import RemoteCommand


class DetachedProcess(Process):
    """A command in a named machine that outlives its clients. They find it again by its id.

    ::

        process = await vm.exec(["make"], detach=True)
        ...
        process = await vm.process(process.id)

    A `DetachedProcess` is used like a `Process`, with these differences. The command continues to
    run at the end of its block, after `abandon`, if this object is dropped, and after the exit of
    this process. `kill` kills the command. It never waits for a reader: the supervisor keeps the
    last MiB of each output stream, and drops older output that nobody has read.

    :ivar id: Id of the command, for `AttachedVM.process`.
    """

    def _init_detached(self, number: int, running: RemoteDetachedCommand) -> Self:
        """Set the attributes that a `Process` lacks, and return self."""
        self.id = number
        self._running = running
        return self

    @property
    def dropped(self) -> tuple[int, int]:
        """Numbers of bytes that `stdout` and `stderr` lack, because the supervisor dropped them.

        They are up to date when this object is created, and again when `wait` has returned.
        """
        return self._running.dropped

    def send_signal(self, signal: int) -> None:
        """Send a signal to the process group of the command. Do nothing if the command has exited.

        :raises UsageError: If the signal does not exist, or if this object has detached.
        """
        self._running.check_attached()
        super().send_signal(signal)


class RemoteDetachedCommand(RemoteCommand):
    """A client's connection to a detached command. Closing it lets the command continue.

    :ivar dropped: Numbers of bytes that standard output and standard error lack.
    """

    dropped = (0, 0)

    def detached_process(self, number: int) -> DetachedProcess:
        """Return a process for the command. If the user drops it, the connection is closed."""
        if self._stdin is not None:
            # Send this message at the end of the input. Otherwise the supervisor assumes that this
            # process has exited when it reads the end of the pipe.
            self._stdin.on_end = partial(self._connection.send, protocol.end_input())
        return self._init_process(DetachedProcess._new())._init_detached(number, self)

    def abandon(self) -> None:
        """Detach from the command."""
        self.leave()

    def leave(self) -> None:
        """Detach from the command. Output that has already arrived can still be read."""
        if not self.command.ended.is_set():
            self._fail(_let_go(), at_once=True)
            if self.command.error is not None:
                self.command.returncode = None  # the command may still run

    def check_attached(self) -> None:
        """Raise an error if this client has detached from the command."""
        if isinstance(self.command.error, UsageError):
            raise self.command.error

    def _on_event(self, name: str, value: Any) -> None:
        match name, value:
            case "dropped", [int(stdout), int(stderr)]:
                self.dropped = (stdout, stderr)
            case "exited", _:
                # Read the rest of the output even if the user reads nothing, so that `wait`
                # returns. The rest is small, because the supervisor keeps only recent output.
                for pipe in self._pipes.values():
                    pipe.lift_limit()
            case _:
                super()._on_event(name, value)


def _let_go() -> UsageError:
    return UsageError(
        "this process object has detached from its command, which continues to run",
        hint="`await vm.process(ID)` attaches again",
    )
