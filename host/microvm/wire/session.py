"""The host's side of the protocol with one guest, without I/O.

A session handles the handshake, chooses the ids of commands, and limits the number of commands that
run at the same time. Each running command has a :class:`CommandConversation`. A session uses the
newest version of the protocol that both host and guest support.

Pass bytes from the guest to :meth:`Session.receive_data`, then call :meth:`Session.next_event`
until it returns None and :attr:`Session.is_behind` is False. Every method that sends a message only
returns its bytes; the caller writes them to the guest.

The module :mod:`microvm.wire.state` defines the messages that are allowed in each state of the
session and of a command. If the guest sends any other message, the session fails and cannot be used
again. The guest sends its messages in order, so a message that is not allowed is not caused by a
race, but by a broken or hostile guest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

from microvm.errors import (
    BUILD_AGAIN,
    Busy,
    GuestDied,
    ProtocolError,
    UsageError,
    VersionMismatch,
)
from microvm.printable import printable
from microvm.wire import codec
from microvm.wire.command_conversation import CommandConversation, by_type
from microvm.wire.state import (
    SESSION_GUEST,
    SESSION_GUEST_IGNORED,
    SESSION_HOST,
    SESSION_IDS,
    CommandState,
    SessionState,
)

WINDOW = 1 << 20
"""Maximum number of bytes of an output stream that the guest may send before the host reads them.

If several commands run, the maximum of each stream is smaller; see `window_of`.
"""

_SHARES = 4

_HINT = "its daemon may be compromised: start another machine, from an image that you trust"

_ENTROPY_SIZE = 64

# Maximum number of bytes that may arrive before `Ready`. These bytes belong to an older session,
# which has run at most 64 commands at once. Together, these commands had credit for less than 18 *
# `WINDOW` bytes of stdout, and for as many of stderr: the command that got credit least recently
# had at most `WINDOW`, the next one `WINDOW // 2`, then `WINDOW // 3`, and each of the others
# `WINDOW // 4`. A frame with 4 bytes of output has 17 bytes, so frames of 4 or more bytes of output
# have less than 153 * `WINDOW` bytes in all. The rest of the limit is for other messages. sandboxd
# collects output before it sends a short frame, so its frames have more bytes on average.
_STALE_LIMIT = 160 * WINDOW

# One call of `next_event` drops at most this many messages of an older session before it returns.
_DROPPED = range(64)

# States in which every message except `Ready` belongs to an older session.
_BEFORE_READY = (SessionState.NEW, SessionState.GREETING)

# First version of the protocol in which several commands may run at the same time.
_BESIDE_SINCE = 4

# Maximum number of running commands whose names an error lists; if more commands run, the error
# shows only their number.
_LISTED = 4

_FROM_HOST = {state: by_type(steps) for state, steps in SESSION_HOST.items()}
_FROM_GUEST = {state: by_type(steps) for state, steps in SESSION_GUEST.items()}
for _state, _ids in SESSION_IDS.items():
    if "host" in _ids:
        _FROM_HOST[_state][codec.ExecRequest.TYPE] = _state  # begins a command's conversation


def window_of(running: int) -> int:
    """Return how many bytes of an output stream the guest may send before the user reads them.

    The result is `WINDOW` divided by the number of running commands, but at least a quarter of
    `WINDOW`. With smaller windows, commands with much output would be slow under emulation, because
    the guest would switch to another process after each frame.
    """
    return WINDOW // min(running, _SHARES)


class Session:
    """The host's side of the protocol: it encodes messages, and decodes and checks answers.

    A method that encodes a message raises ProtocolError if the message is not allowed in the
    current state, for example before the guest is ready. After the guest has said goodbye, `hello`,
    `keep` and `exec_request` raise GuestDied, and other methods return no bytes.

    :ivar state: Current state of the session.
    :ivar commands: Maximum number of commands that run at once. Change it only while no command
        runs.
    :ivar running: The conversations about the running commands, by the ids of the commands.
    :ivar failed: True if the guest has violated the protocol. The session cannot be used again.
    :ivar is_behind: True if `next_event` returned None although it may have more messages, so that
        the caller can do other work first.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], int] = time.time_ns,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Create a session in the state NEW. `clock` and `entropy` supply data for the guest.

        :param clock: Function that returns the current time in nanoseconds since 1970, to send to
            the guest.
        :param entropy: Function that returns as many random bytes as its argument says, for nonces
            and to send to the guest.
        """
        self._clock = clock
        self._entropy = entropy
        self.commands = 1
        self.running: dict[int, CommandConversation] = {}
        self.failed = False
        self._enter(SessionState.NEW)
        self._decoder = codec.Decoder("guest")
        self._version = codec.VERSION
        self._nonce = 0
        self._id = 0
        self._stale = 0
        self._pings: list[int] = []
        self._statuses = 0
        self.is_behind = False

    def _enter(self, following: SessionState) -> None:
        """Change the state of the session, and the messages that are allowed."""
        self.state = following
        self._from_host = _FROM_HOST[following]
        self._from_guest = _FROM_GUEST[following]
        if "host" not in SESSION_IDS[following]:
            self._silence()
        if not SESSION_IDS[following]:
            self.running.clear()

    def _silence(self) -> None:
        for conversation in self.running.values():
            conversation.silence()

    def _fail(self) -> None:
        """Refuse all further messages of both sides."""
        self.failed = True
        self._silence()
        self.running.clear()
        self._from_host = {}
        self._from_guest = {}

    def _say(self, message: codec.Message) -> bytes:
        """Encode a message to the guest, and change to the state that follows the message.

        After its `Goodbye`, the guest reads nothing. So a message that begins a session or a
        command raises an error. For other messages, return no bytes, because their callers notice
        the loss of the guest anyway.

        :raises GuestDied: If the message is a `Hello`, `Keep` or `ExecRequest` after a `Goodbye`.
        """
        if self.state is SessionState.FINISHED and not self.failed:
            if isinstance(message, codec.Hello | codec.Keep | codec.ExecRequest):
                raise GuestDied("the guest has shut itself down")
            return b""
        following = self._from_host.get(message.TYPE)
        if following is None:
            raise ProtocolError(f"cannot send a message: the session is in the state {self._now}")
        frame = message.encode(self._version)
        if following is not self.state:
            self._enter(following)
        return frame

    @property
    def _now(self) -> str:
        """Name of the current state, for error messages."""
        return "FAILED" if self.failed else self.state.name

    def hello(self) -> bytes:
        """Encode `hello`, which starts a new session.

        The guest then kills all commands, and the host drops all messages that the guest sent
        before.
        """
        self._nonce = int.from_bytes(self._entropy(8), "little")
        frame = self._say(codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, self._nonce))
        self._id = 0
        self._stale = 0
        self._pings.clear()
        self._statuses = 0
        return frame

    def resume(self) -> bytes:
        """Encode `resume`, which gives the current time and entropy to a booted or cloned guest."""
        return self._say(codec.Resume(self._clock(), self._entropy(_ENTROPY_SIZE)))

    def keep(self) -> bytes:
        """Encode `keep`, so that the next `hello` does not kill the processes in the guest.

        The guest freezes the processes, and lets them continue at the next `resume`.

        :raises Busy: Raised if a command is running.
        :raises UsageError: Raised if the guest is too old to support this message.
        """
        if self.running:
            raise Busy(f"{self._uses()}, so its processes cannot be kept")
        try:
            return self._say(codec.Keep())
        except codec.EncodeError:
            raise UsageError(
                "the processes of this guest cannot be kept: it speaks version "
                f"{self._version} of the protocol",
                hint=BUILD_AGAIN,
            ) from None

    def ping(self, token: int) -> bytes:
        """Encode `ping`, which the guest answers with a `Pong` that has the same token."""
        frame = self._say(codec.Ping(token))
        self._pings.append(token)
        return frame

    def status_request(self) -> bytes:
        """Encode `status_request`, which the guest answers with a `Status`."""
        frame = self._say(codec.StatusRequest())
        self._statuses += 1
        return frame

    def shutdown(self) -> bytes:
        """Encode `shutdown`. The guest answers with `Goodbye`, and shuts down."""
        return self._say(codec.Shutdown())

    def has_room(self, *, beside: bool) -> bool:
        """Return True if the guest can start a command now.

        :param beside: True if other commands may run at the same time as this one.
        """
        running = self.running.values()
        if not running:
            return True
        beside = beside and self._version >= _BESIDE_SINCE
        return beside and len(running) < self.commands and all(each.beside for each in running)

    def exec_request(self, request: codec.ExecRequest) -> tuple[CommandConversation, bytes]:
        """Encode `exec_request`, which asks the guest to run a command.

        The new command gets credit for each output stream. The credit is the result of `window_of`
        for the number of running commands, including the new one.

        :param request: Description of the command, in which the session sets the id and the
            credits. If the guest is too old to run several commands at the same time, the session
            also sets `beside` to False.
        :return: The conversation about the new command, and the encoded message.
        :raises Busy: Raised if the guest cannot start a command now; see `has_room`.
        :raises UsageError: Raised if the request is too long or contains a NUL byte, or if the
            guest is too old to join the output streams.
        """
        if not self.has_room(beside=request.beside):
            raise self._busy()
        if request.beside and self._version < _BESIDE_SINCE:
            request = replace(request, beside=False)
        window = window_of(len(self.running) + 1)
        request = replace(request, id=self._id + 1, stdout_credit=window, stderr_credit=window)
        try:
            frame = self._say(request)
        except codec.EncodeError as error:
            if error.field == "joined":
                said = "the image is too old for a command with stderr=STDOUT"
                raise UsageError(said, hint=BUILD_AGAIN) from None
            raise UsageError(f"the command cannot be sent: {error}") from None
        self._id += 1
        conversation = self.running[self._id] = CommandConversation(
            request, self._version, self._window
        )
        return conversation, frame

    def _window(self) -> int:
        return window_of(len(self.running))

    def _busy(self) -> Busy:
        """Return the error for a command that cannot start beside the running commands."""
        if len(self.running) == self.commands:
            hint = "MicroVM(commands=N), or --commands N, permits more"
            more = self.commands < codec.MAX_COMMANDS
            return Busy(f"{self._uses()}, the most that it may run at once", hint=hint * more)
        if self._version < _BESIDE_SINCE:
            said = f"{self._uses()}, and its image supports only one at a time"
            return Busy(said, hint=BUILD_AGAIN)
        return Busy(f"{self._uses()}, and no other command may run now")

    def _uses(self) -> str:
        """Return a description of the running commands, for an error."""
        count = len(self.running)
        said = f"the machine runs {count} command{'s' * (count > 1)}"
        if count > _LISTED:
            return said
        names = (printable(os.fsdecode(each.name)) for each in self.running.values())
        return f"{said} ({', '.join(names)})"

    def receive_data(self, data: bytes) -> None:
        """Pass bytes from the guest to the decoder.

        Messages with output refer to `data` and do not copy it.
        """
        if not self.failed:
            self._decoder.receive_data(data)
        if self.state in _BEFORE_READY:
            self._stale += len(data)

    def next_event(self) -> codec.Message | None:
        """Return the guest's next message for the caller; None if more bytes are needed.

        Messages of an older session are dropped. If there are many of them, this method returns
        None and sets :attr:`is_behind`; then call it again later.

        :raises VersionMismatch: Raised if the guest was built from a schema that the host does not
            know.
        :raises ProtocolError: Raised if the guest violated the protocol. The session cannot be used
            again.
        """
        if self.failed:
            return None
        try:
            if self._stale > _STALE_LIMIT:
                raise ProtocolError("the guest sends data, but does not answer", hint=_HINT)
            for _ in _DROPPED:
                message = self._decoder.next_message()
                if message is None:
                    break
                if self._accept(message):
                    return message
            else:
                self.is_behind = True
                return None
        except codec.DecodeError as error:
            self._fail()
            said = f"the guest sent a malformed frame: {error}"
            raise ProtocolError(said, hint=_HINT) from None
        except ProtocolError:
            self._fail()
            raise
        self.is_behind = False
        return None

    def _accept(self, message: codec.Message) -> bool:
        """Check a message of the guest, and change to the state that follows the message.

        Return True if the message is for the caller, False if it belongs to an older session.
        """
        following = self._from_guest.get(message.TYPE)
        if following is None:
            return self._accept_of_command(message)
        match message:
            case codec.Error():
                raise self._refused(message)
            case codec.Pong(token=token):
                self._expect(token in self._pings, message)
                self._pings.remove(token)
            case codec.Status():
                self._expect(self._statuses > 0, message)
                self._statuses -= 1
            case codec.Ready(nonce=nonce):
                if nonce != self._nonce:
                    return False
                self._agree(message)
        if following is not self.state:
            self._enter(following)
        return True

    def _accept_of_command(self, message: codec.Message) -> bool:
        """Check a message that the session's table lacks, usually one about a command.

        The result has the same meaning as the result of `_accept`.
        """
        if type(message) in SESSION_GUEST_IGNORED[self.state]:
            return False
        if isinstance(message, codec.Error):
            raise self._refused(message)
        conversation = self.running.get(getattr(message, "id", 0))
        if conversation is None or not conversation.accept(message):
            raise self._out_of_order(message)
        if conversation.state is CommandState.ENDED:
            del self.running[conversation.id]
        return True

    def _agree(self, ready: codec.Ready) -> None:
        """Choose the protocol version to use: the older one of the versions of host and guest."""
        # A guest with a newer schema needs no check of its digest, because it also supports the
        # host's version. `microvm-proto breaking` ensures this for each release.
        newer = ready.version > codec.VERSION
        if not newer and codec.DIGESTS.get(ready.version) != ready.digest:
            host = (codec.VERSION, codec.DIGEST)
            raise VersionMismatch(host=host, guest=(ready.version, ready.digest))
        self._version = self._decoder.version = min(codec.VERSION, ready.version)

    def _expect(self, right: bool, message: codec.Message) -> None:
        if not right:
            raise self._out_of_order(message)

    def _refused(self, error: codec.Error) -> ProtocolError:
        name = error.code.name.lower() if isinstance(error.code, codec.ErrorCode) else error.code
        said = f"the guest refused a frame of type {error.refused_type}: {name}"
        return ProtocolError(f"{said} at offset {error.offset}", hint=_HINT)

    def _out_of_order(self, message: codec.Message) -> ProtocolError:
        name, now = type(message).__name__, self._now
        if id_ := getattr(message, "id", 0):
            ended = CommandState.ENDED if id_ <= self._id else CommandState.NEW
            state = self.running[id_].state if id_ in self.running else ended
            now += f", with a command that is {state.name}"
        return ProtocolError(f"the guest sent {name}, which is not allowed now ({now})", hint=_HINT)
