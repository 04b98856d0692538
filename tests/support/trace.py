"""Checks that the messages of a daemon or a host are in order in the schema's conversations.

The check of a daemon knows the bytes that a host has sent, and the messages that the host has
received. It does not know how many frames the daemon had handled when it sent a message. So it
keeps every number that is possible. The daemon handles a frame only after it has answered the
frames before.
"""

from __future__ import annotations

import functools
from copy import copy
from pathlib import Path

from fuzz.frames import Event, FrameReader

from microvm.wire import codec
from microvm_proto.conversation_rules import MessageOrder, SentMessage
from microvm_proto.follower import Follower, Judgement
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

_FIELDS = ("nonce", "token", "code", "stream", "data", "amount", "stdout_credit", "stderr_credit")
"""The fields that conditions and counters depend on."""

_CONDITIONS = "conditions"
"""Key of the conditions that hold, beside the fields of a message."""

_ACTIVE = {"requested", "running"}


@functools.cache
def _schema() -> Schema:
    return read_schema(Path(__file__).parents[2] / "protocol/sandboxd.toml")


@functools.cache
def _name(number: int) -> str:
    return next(each.name for each in _schema().messages if each.number == number)


def message_of(sender: str, message: codec.Message) -> SentMessage:
    """Return a message of the codec for the follower of conversations."""
    fields = {name: getattr(message, name) for name in _FIELDS if hasattr(message, name)}
    return SentMessage(sender, _name(message.TYPE), getattr(message, "id", 0), fields)


def _holds(condition: str, message: SentMessage) -> bool:
    holds = message.fields[_CONDITIONS]
    assert isinstance(holds, set)
    return condition in holds


class OutOfOrder(AssertionError):
    """Error of a daemon that has sent a message out of order."""


class _State:
    """A possible state of the daemon.

    :ivar handled: Number of frames of the host that the daemon has handled.
    """

    def __init__(self) -> None:
        self.handled = 0
        self._nonce: int | None = None
        self._token = self._last_id = self._running = 0
        self._is_busy = False
        self._owed: tuple[int, bool] | None = None
        """The id of a frame that has to be refused, and whether it is malformed."""
        self._follower = Follower(_schema(), _holds, side="guest")

    def _copy(self) -> _State:
        other = object.__new__(_State)
        other.__dict__ |= self.__dict__
        other._follower = copy(self._follower)
        return other

    @property
    def key(self) -> object:
        """Equal for states that accept the same messages."""
        own = (self.handled, self._nonce, self._token, self._last_id, self._running)
        return own, self._owed, self._is_busy, self._follower.snapshot

    def _conditions(self, message: SentMessage) -> set[str]:
        """Return the conditions of the schema that hold for a message."""
        code, stream = message.fields.get("code"), message.fields.get("stream")
        holds = {
            "own_nonce": message.fields.get("nonce") == self._nonce,
            "free": not self._runs,
            "malformed": self._owed == (message.id, True) and code in list(codec.Fault),
            "busy": self._is_busy and code == codec.ErrorCode.BUSY,
            "stdout": stream == codec.Stream.STDOUT,
            "stderr": stream == codec.Stream.STDERR,
        }
        return {name for name, true in holds.items() if true}

    def _follow(self, message: SentMessage) -> Judgement:
        fields = {**message.fields, _CONDITIONS: self._conditions(message)}
        return self._follower.follow(message._replace(fields=fields))

    @property
    def _runs(self) -> bool:
        return bool(_ACTIVE & self._follower.states_of(self._running))

    @property
    def is_refusing(self) -> bool:
        """True if the daemon has to refuse a frame next."""
        return self._owed is not None

    def after(self, event: Event) -> _State | None:
        """Return the state after the daemon has handled a frame; None if it has to answer first."""
        if self._owed or self._follower.unanswered:
            return None
        state = self._copy()
        state.handled += 1
        if isinstance(event.outcome, codec.DecodeError):
            state._owed = event.id, True
        else:
            state._handle(event.outcome, message_of("host", event.outcome))
        return state

    def _handle(self, message: codec.Message, sent: SentMessage) -> None:
        if isinstance(message, codec.ExecRequest) and message.id <= self._last_id:
            self._follower.refuse(sent)
            self._owed = sent.id, False
            return
        is_busy = self._runs
        # The daemon ignores messages with an old id that no request had.
        is_unused = sent.id > 0 and self._follower.states_of(sent.id) == {"new"}
        verdict, _ = self._follow(sent)
        if verdict is MessageOrder.OUT_OF_ORDER and not (is_unused and sent.id <= self._last_id):
            self._owed = sent.id, False
        if isinstance(message, codec.Hello):
            self._nonce = message.nonce
            self._last_id = self._running = 0
        if isinstance(message, codec.Ping):
            self._token = message.token
        if isinstance(message, codec.ExecRequest):
            self._last_id = message.id
            if is_busy:
                self._owed = sent.id, False
            self._is_busy = is_busy
            self._running = self._running if is_busy else message.id

    def answered(self, message: SentMessage) -> tuple[_State | None, str]:
        """Return the state after a message of the daemon, or the reason why it is out of order."""
        state = self._copy()
        verdict, why = state._follow(message)
        if verdict is MessageOrder.OUT_OF_ORDER:
            return None, why
        if message.name == "pong" and message.fields["token"] != self._token:
            return None, "the last `ping` has another token"
        if self._owed and message.name != "error":
            return None, "a frame has to be refused first"
        if message.name == "error":
            if self._owed is None or self._owed[0] != message.id:
                return None, "no frame with this id has to be refused"
            if self._owed[1] != (message.fields["code"] in list(codec.Fault)):
                return None, "the refused frame had another fault"
            state._owed = None
        return state, ""


class HostTrace:
    """The messages between a correct host and any guest, in the order in which the host sees them.

    A correct host gives the guest no reason to send an `error`, so no condition of one holds.
    """

    def __init__(self) -> None:
        """Begin with a host that has sent nothing."""
        self._nonce: int | None = None
        self._running = 0
        self._follower = Follower(_schema(), _holds, side="host")

    def follow(self, sender: str, message: codec.Message) -> Judgement:
        """Judge a message of the side `sender`."""
        sent = message_of(sender, message)
        stream = sent.fields.get("stream")
        holds = {
            "own_nonce": sent.fields.get("nonce") == self._nonce,
            "free": not _ACTIVE & self._follower.states_of(self._running),
            "stdout": stream == codec.Stream.STDOUT,
            "stderr": stream == codec.Stream.STDERR,
        }
        true = {name for name, each in holds.items() if each}
        fields = {**sent.fields, _CONDITIONS: true}
        judgement = self._follower.follow(sent._replace(fields=fields))
        if judgement.verdict is MessageOrder.IN_ORDER:
            if isinstance(message, codec.Hello):
                self._nonce, self._running = message.nonce, 0
            if isinstance(message, codec.ExecRequest):
                self._running = message.id
        return judgement


class DaemonTrace:
    """The messages between a host and a daemon, of which the daemon's must be in order."""

    def __init__(self) -> None:
        """Begin with a daemon that has received nothing."""
        self._reader = FrameReader()
        self._frames: list[Event] = []
        self._states = [_State()]

    def sent(self, data: bytes) -> None:
        """Record bytes that the host has sent."""
        self._frames += self._reader.feed(data)

    def received(self, message: codec.Message) -> None:
        """Record a message that the host has received.

        :raises OutOfOrder: The message is out of order, whatever the daemon had handled before.
        """
        answer = message_of("guest", message)
        possible: dict[object, _State] = {}
        reasons = dict[str, None]()
        seen = set[object]()
        states = [*self._states]
        while states:
            state = self._after_input(states.pop())
            if state.key in seen:
                continue
            seen.add(state.key)
            after, why = state.answered(answer)
            if after:
                possible[after.key] = after
            reasons[why] = None
            if state.handled < len(self._frames) and (
                later := state.after(self._frames[state.handled])
            ):
                states.append(later)
        if not possible:
            before = [each.outcome for each in self._frames[-3:]]
            raise OutOfOrder(f"{message} is out of order: {'; '.join(reasons)}; after {before}")
        self._states = [*possible.values()]
        self._forget()

    def _after_input(self, state: _State) -> _State:
        """Return the state after the daemon has handled all input that comes next.

        Input within its credit only makes room for more credit, whatever the daemon sends before or
        after. So it is enough to follow the daemon that handles it first.
        """
        while state.handled < len(self._frames):
            frame = self._frames[state.handled]
            later = state.after(frame) if isinstance(frame.outcome, codec.ExecStdin) else None
            if later is None or later.is_refusing:
                break
            state = later
        return state

    def _forget(self) -> None:
        """Forget the frames that the daemon certainly has handled."""
        handled = min(each.handled for each in self._states)
        del self._frames[:handled]
        for each in self._states:
            each.handled -= handled
