"""A command that runs in a guest: the messages about it, and its time limits."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from signal import SIGKILL

from microvm.errors import ExecTimeout, MachineError
from microvm.guest.command import Command
from microvm.guest.deadline import Deadline, Timer
from microvm.guest.process import Process
from microvm.guest.request import HostLimits
from microvm.guest.streams import InputStream
from microvm.options import Text
from microvm.wire import codec
from microvm.wire.channel import Channel
from microvm.wire.command_conversation import CommandConversation


class RunningCommand:
    """A command in a guest that this process controls.

    :ivar command: State of the command, which a `Process` shows to users.
    """

    def __init__(
        self,
        args: Sequence[Text],
        request: codec.ExecRequest,
        conversation: CommandConversation,
        channel: Channel,
        limits: HostLimits,
        *,
        kill_timeout: float,
        on_late: Callable[[str], object],
    ) -> None:
        """Create the object for the command that `request` starts, and start its time limits.

        :param kill_timeout: Maximum number of seconds that a killed command may take to exit.
        :param on_late: Function that is called if a killed command exceeds `kill_timeout`. Its
            argument is a description of this failure.
        """
        self._conversation = conversation
        self._channel = channel
        self._kill_timeout = kill_timeout
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._due = Timer()
        self._kill_due = Deadline()
        fed = conversation.takes_stdin
        # The functions that `Command` gets must not refer to this object. Otherwise a reference
        # cycle would keep the output of the command in memory until the next garbage collection.
        self.command = Command(
            args,
            request,
            stdin=_input_stream(conversation, channel) if fed else None,
            consumed=lambda stream, amount: channel.write(conversation.consumed(stream, amount)),
            max_output=limits.max_output,
        )
        if limits.timeout is not None:
            self._due.start(limits.timeout, partial(self._expire, limits.timeout, limits.grace))

    def process(self) -> Process:
        """Return the `Process` for the user. If the user drops it, the command is killed."""
        return Process._new()._init(
            self.command,
            send_signal=self._signal,
            resize=self._resize,
            abandon=lambda _: self._abandon(),
            dropped=partial(_dropped, weakref.ref(self)),
        )

    def hear(self, message: codec.Message) -> None:
        """Handle a message that the guest has sent about this command."""
        match message:
            case codec.ExecOutput():
                if not self.command.feed(message):
                    self._kill()
            case codec.ExecStdinCredit():
                self.flush()
            case codec.ExecStdinClosed():
                if self.command.stdin is not None:
                    self.command.stdin._refuse()
            case codec.ExecResponse() | codec.ExecFailed():
                self._cancel_timers()
                self.command.finish(message)

    def flush(self) -> None:
        """Send as much of the command's queued input as possible."""
        if self.command.stdin is not None:
            self.command.stdin._flush()

    def fail(self, error: MachineError) -> None:
        """End the command because the machine is lost."""
        self._cancel_timers()
        self.command.fail(error)

    def abandon_soon(self) -> None:
        """Let the event loop kill the command. Any thread may call this method."""
        if not self.command.ended.is_set():
            self.command.abandoned = True
            # A RuntimeError means that the event loop is closed, so the machine has already
            # stopped.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._abandon)

    def _abandon(self) -> None:
        if not self.command.ended.is_set():
            self.command.abandoned = True
            self.command.release(0)
            self._kill()

    def _cancel_timers(self) -> None:
        self._due.cancel()
        self._kill_due.cancel()

    def _signal(self, signal: int) -> None:
        kill = signal == SIGKILL
        conversation = self._conversation
        self._channel.write(conversation.kill() if kill else conversation.signal(signal))

    def _resize(self, rows: int, columns: int) -> None:
        self._channel.write(self._conversation.resize(rows, columns))

    def _expire(self, timeout: float, grace: float | None) -> None:
        self.command.mark_killed(ExecTimeout(self.command.name, timeout, self.command.args))
        if grace:
            self._channel.write(self._conversation.terminate())
            self._due.start(grace, self._kill)
        else:
            self._kill()

    def _kill(self) -> None:
        if self._kill_due.is_running:
            return  # a second kill must not extend the time limit of the first one
        self._signal(SIGKILL)
        late = partial(self._on_late, "a killed command did not exit")
        self._kill_due.start(self._kill_timeout, late)


def _input_stream(conversation: CommandConversation, channel: Channel) -> InputStream:
    def credit() -> int:
        # A hostile guest may allow the host to send gigabytes, and then read nothing. So send
        # nothing while the host's write buffer is full. Otherwise that buffer would grow without
        # limit.
        return 0 if channel.is_full else conversation.stdin_credit

    return InputStream._new()._init(lambda data: channel.write(*conversation.stdin(data)), credit)


def _dropped(running: weakref.ref[RunningCommand]) -> None:
    """Kill a command to whose `Process` nobody refers any more.

    The parameter is a weak reference. If it were strong, an error that is stored in the command
    could keep the `Process` alive forever, because its traceback refers to frames.
    """
    if (command := running()) is not None:
        command.abandon_soon()
