"""A session is the host's side of the conversation with one guest, without I/O.

It knows the handshake, ids and credits, and speaks the lower of both sides' versions.

Bytes from the guest go into :meth:`Session.receive_data`, then :meth:`Session.next_event` is called
until it returns None and :attr:`Session.is_behind` is false. Every method that says something to
the guest returns the bytes to write.

What each side may say in which state is in :mod:`microvm.wire.state`.
Anything else of the guest's leads to FAILED, and there it ends: the guest orders its own output, so
what comes out of order is no race but a broken or hostile guest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from signal import NSIG

from microvm.errors import BUILD_AGAIN, Busy, ProtocolError, UsageError, VersionMismatch
from microvm.wire import codec
from microvm.wire.state import GUEST_STEPS, HOST_STEPS, State, Steps

WINDOW = 1 << 20
"""Bytes of each output stream that the guest may send before we have taken any."""

STDIN_CHUNK = codec.ExecStdin.MAX_BODY
"""Bytes of standard input that fit into one frame."""

_HINT = "its daemon is none of ours, or was broken into: start another, of an image that you trust"

_ENTROPY_SIZE = 64

# Bytes that come before `ready`: of an older session there are two windows at most, and where each
# byte had a frame of its own, that is 14 times as many.
_STALE_LIMIT = 32 * WINDOW

# Frames of an older session that are dropped at a time.
_DROPPED = range(64)
_MAX_CREDIT = 0xFFFFFFFF

# What comes in these, and does not lead on, is of an older session.
_BEFORE_READY = (State.NEW, State.GREETING)


def _by_type(steps: Steps) -> dict[State, dict[int, State]]:
    """Index messages by the number of their type, as a frame has it."""
    return {
        state: {kind.TYPE: following for kind, following in messages.items()}
        for state, messages in steps.items()
    }


_FROM_HOST = _by_type(HOST_STEPS)
_FROM_GUEST = _by_type(GUEST_STEPS)


class Session:
    """A session gives the bytes to send, takes those that came, and knows what is in order.

    :ivar state: where it stands.
    :ivar takes_stdin: whether the host feeds the command's standard input.
    :ivar stdin_credit: bytes of standard input that the guest takes now; 0 once it takes no more.
    :ivar is_behind: whether `next_event` has only stopped so that its caller can do other things,
        too.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], int] = time.time_ns,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Begin one.

        :param clock: tells the time, in nanoseconds since 1970; a guest is given it.
        :param entropy: gives so many random bytes, for nonces and for the guest.
        """
        self._clock = clock
        self._entropy = entropy
        self._enter(State.NEW)
        self._decoder = codec.Decoder("guest")
        self._version = codec.VERSION
        self._nonce = 0
        self._id = 0
        self._stale = 0
        self._pings: list[int] = []
        self._statuses = 0
        self._goodbye = False
        self._limits_memory = False
        self._credit: dict[codec.Stream, int] = {}
        self._owed: dict[codec.Stream, int] = {}
        self.takes_stdin = False
        self.stdin_credit = 0
        self.is_behind = False

    def _enter(self, state: State) -> None:
        self.state = state
        self._from_host = _FROM_HOST[state]
        self._from_guest = _FROM_GUEST[state]

    def _say(self, message: codec.Message) -> bytes:
        """Encode a message, and step.

        :raises ProtocolError: it has no place in this state.
        :raises EncodeError: the protocol cannot carry it.
        """
        following = self._from_host.get(message.TYPE)
        if following is None:
            raise ProtocolError(f"nothing can be sent now: the session is {self.state.name}")
        frame = message.encode(self._version)
        if following is not self.state:
            self._enter(following)
        return frame

    def _can_say(self, kind: type[codec.Message]) -> bool:
        """Whether a message has its place in this state; those about a command: while it runs."""
        return kind.TYPE in self._from_host

    def _say_of_command(self, message: codec.Message) -> bytes:
        """Encode what is about the running command; nothing when it has ended."""
        return message.encode(self._version) if self._can_say(type(message)) else b""

    def hello(self) -> bytes:
        """Start afresh: whatever runs in the guest is killed, and earlier frames are dropped.

        :raises ProtocolError: the session has failed.
        """
        self._nonce = int.from_bytes(self._entropy(8), "little")
        frame = self._say(codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, self._nonce))
        self._id = 0
        self._stale = 0
        self._pings.clear()
        self._statuses = 0
        self._goodbye = False
        return frame

    def resume(self) -> bytes:
        """Tell a guest that has just started the time, and give it entropy.

        :raises ProtocolError: it is not idle.
        """
        return self._say(codec.Resume(self._clock(), self._entropy(_ENTROPY_SIZE)))

    def keep(self) -> bytes:
        """Have the next `hello` keep what runs in the guest, frozen until the `resume` behind it.

        :raises Busy: a command is running.
        :raises UsageError: the guest is too old to know how.
        :raises ProtocolError: it is not ready.
        """
        if self._can_say(codec.ExecKill):
            raise Busy("a command is running on this machine, and what runs cannot be kept")
        try:
            return self._say(codec.Keep())
        except codec.EncodeError:
            raise UsageError(
                f"what runs in this guest cannot be kept: it speaks version {self._version} of the"
                " protocol",
                hint=BUILD_AGAIN,
            ) from None

    def ping(self, token: int) -> bytes:
        """Ask for a `Pong` with this number.

        :raises ProtocolError: the guest is not ready.
        """
        frame = self._say(codec.Ping(token))
        self._pings.append(token)
        return frame

    def status_request(self) -> bytes:
        """Ask for a `Status`.

        :raises ProtocolError: the guest is not ready.
        """
        frame = self._say(codec.StatusRequest())
        self._statuses += 1
        return frame

    def shutdown(self) -> bytes:
        """Ask the guest to end itself; it says `Goodbye`.

        :raises ProtocolError: it is not ready.
        """
        return self._say(codec.Shutdown())

    def exec_request(self, request: codec.ExecRequest) -> bytes:
        """Run a command.

        :param request: its id and its credits are given by the session, whatever they are.
        :raises Busy: one is in flight.
        :raises ProtocolError: the guest is not ready.
        :raises UsageError: the protocol cannot carry it: too long, or a NUL byte in it.
        """
        if self._can_say(codec.ExecKill):
            raise Busy("a command is running on this machine, and it takes one at a time")
        request = replace(request, id=self._id + 1, stdout_credit=WINDOW, stderr_credit=WINDOW)
        try:
            frame = self._say(request)
        except codec.EncodeError as error:
            raise UsageError(f"this command cannot be sent: {error}") from None
        self._id += 1
        self._limits_memory = request.max_memory > 0
        self._credit = dict.fromkeys(codec.Stream, WINDOW)
        self._owed = dict.fromkeys(codec.Stream, 0)
        self.takes_stdin = request.stdin_from == codec.StdinKind.HOST or request.rows > 0
        self.stdin_credit = 0
        return frame

    def exec_signal(self, signal: int) -> bytes:
        """Send a signal to the running command's process group; nothing when it has ended.

        :raises UsageError: no signal has this number.
        """
        try:
            return self._say_of_command(codec.ExecSignal(self._id, signal))
        except codec.EncodeError:
            raise UsageError(f"no signal has the number {signal}") from None

    def exec_kill(self) -> bytes:
        """Kill the running command; nothing when it has ended. Its response still comes."""
        return self._say_of_command(codec.ExecKill(self._id))

    def exec_terminate(self) -> bytes:
        """Ask the running command to end; what it leaves behind is killed. Else as `exec_kill`."""
        return self._say_of_command(codec.ExecTerminate(self._id))

    def exec_resize(self, rows: int, columns: int) -> bytes:
        """Tell the running command's terminal its size; nothing when it has ended.

        :raises UsageError: no terminal has this size.
        """
        try:
            return self._say_of_command(codec.ExecResize(self._id, rows, columns))
        except codec.EncodeError:
            raise UsageError(f"no terminal has {rows} lines and {columns} columns") from None

    def exec_stdin(self, data: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
        """Feed the running command; without data, end its input. Nothing when it has ended.

        :param data: at most `stdin_credit` and :data:`STDIN_CHUNK` bytes.
        :return: the frame's parts; the data is one of them, so it must not change until it is sent.
        :raises UsageError: it is more than the credit.
        """
        if not self._can_say(codec.ExecStdin):
            return ()
        if len(data) > self.stdin_credit:
            raise UsageError(f"{len(data)} bytes are more than the credit of {self.stdin_credit}")
        self.stdin_credit -= len(data)
        return codec.ExecStdin(self._id, data).encode_parts(self._version)

    def consumed(self, stream: codec.Stream, amount: int) -> bytes:
        """Note that output has been taken; gives the guest new credit, in large pieces."""
        if not self._can_say(codec.ExecCredit):
            return b""
        self._owed[stream] += amount
        if self._owed[stream] < WINDOW // 2:
            return b""
        amount, self._owed[stream] = self._owed[stream], 0
        self._credit[stream] += amount
        return codec.ExecCredit(self._id, stream, amount).encode(self._version)

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the guest; output refers to them without a copy."""
        if self.state is not State.FAILED:
            self._decoder.receive_data(data)
        if self.state in _BEFORE_READY:
            self._stale += len(data)

    def next_event(self) -> codec.Message | None:
        """Return the next message that means something, or None when more bytes are needed.

        Of many that mean nothing it drops a part: None then, too, and :attr:`is_behind`.

        :raises VersionMismatch: the guest was built from a schema that is not one of ours.
        :raises ProtocolError: the guest broke the protocol; the session is over.
        """
        if self.state is State.FAILED:
            return None
        try:
            if self._stale > _STALE_LIMIT:
                raise ProtocolError("the guest sends and sends, and does not answer", hint=_HINT)
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
            self._enter(State.FAILED)
            said = f"the guest sent a malformed frame: {error}"
            raise ProtocolError(said, hint=_HINT) from None
        except ProtocolError:
            self._enter(State.FAILED)
            raise
        self.is_behind = False
        return None

    def _accept(self, message: codec.Message) -> bool:
        """Check a message, and step; whether it is for the caller.

        :raises ProtocolError: the guest must not send it now, or says that it refuses a frame.
        :raises VersionMismatch: the guest was built from a schema that is not one of ours.
        """
        following = self._from_guest.get(message.TYPE)
        if following is None or self._goodbye:
            if self.state in _BEFORE_READY:
                return False
            raise self._out_of_order(message)
        match message:
            case codec.ExecOutput(id=id_, stream=stream, data=data):
                self._expect(id_ == self._id and 0 < len(data) <= self._credit[stream], message)
                self._credit[stream] -= len(data)
            case codec.ExecResponse(id=id_) | codec.ExecFailed(id=id_):
                self._expect(id_ == self._id and self._can_be(message), message)
            case codec.ExecStdinCredit(id=id_, amount=amount):
                self._expect(id_ == self._id and self.takes_stdin and amount > 0, message)
                self.stdin_credit = min(self.stdin_credit + amount, _MAX_CREDIT)
            case codec.ExecStdinClosed(id=id_):
                self._expect(id_ == self._id and self.takes_stdin, message)
                self.takes_stdin = False
                self.stdin_credit = 0
            case codec.Pong(token=token):
                self._expect(token in self._pings, message)
                self._pings.remove(token)
            case codec.Status():
                self._expect(self._statuses > 0, message)
                self._statuses -= 1
            case codec.Goodbye():
                self._goodbye = True
            case codec.Ready(nonce=nonce):
                if nonce != self._nonce:
                    return False
                self._agree(message)
            case codec.Error(code=code, refused_type=kind, offset=offset):
                name = code.name.lower() if isinstance(code, codec.ErrorCode) else code
                raise ProtocolError(
                    f"the guest refused a frame of type {kind}: {name} at offset {offset}",
                    hint=_HINT,
                )
        if following is not self.state:
            self._enter(following)
        return True

    def _agree(self, ready: codec.Ready) -> None:
        """Choose the version that both sides speak.

        :raises VersionMismatch: the guest was built from a schema that is not one of ours.
        """
        # A newer guest speaks our version: `microvm-proto breaking` has seen to that.
        newer = ready.version > codec.VERSION
        if not newer and codec.DIGESTS.get(ready.version) != ready.digest:
            host = (codec.VERSION, codec.DIGEST)
            raise VersionMismatch(host=host, guest=(ready.version, ready.digest))
        self._version = self._decoder.version = min(codec.VERSION, ready.version)

    def _can_be(self, message: codec.ExecResponse | codec.ExecFailed) -> bool:
        """Whether the running command can have come to this end."""
        if isinstance(message, codec.ExecFailed) or message.ending is codec.Ending.EXITED:
            return True
        limited = message.ending is not codec.Ending.OUT_OF_MEMORY or self._limits_memory
        # The signal's negative is the return code: 0 would be success.
        return limited and 0 < message.status < NSIG

    def _expect(self, right: bool, message: codec.Message) -> None:
        if not right:
            raise self._out_of_order(message)

    def _out_of_order(self, message: codec.Message) -> ProtocolError:
        name = type(message).__name__
        said = f"the guest sent {name} where it must not ({self.state.name})"
        return ProtocolError(said, hint=_HINT)
