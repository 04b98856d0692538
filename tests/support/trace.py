"""Checks that the messages of a daemon are in order in the schema's conversations.

The check of a daemon knows the bytes that a host has sent, and the messages that the host has
received. It does not know how many frames the daemon had handled when it sent a message. So it
keeps every number that is possible. The daemon handles a frame only after it has answered the
frames before.
"""

from __future__ import annotations

from copy import copy

from fuzz.frames import Event, FrameReader

from microvm.wire import codec
from microvm_proto.conversation_rules import MessageOrder

from .recording import Recording
from .side_copy import SideCopy


class OutOfOrder(AssertionError):
    """Error of a daemon that has sent a message out of order."""


class _State(SideCopy):
    """A possible state of the daemon.

    :ivar handled: Number of frames of the host that the daemon has handled.
    """

    def __init__(self) -> None:
        super().__init__("guest")
        self.handled = self._token = 0

    @property
    def key(self) -> object:
        """Equal for states that accept the same messages."""
        return self.handled, self._token, super().key

    def after(self, event: Event) -> _State | None:
        """Return the state after the daemon has handled a frame; None if it has to answer first."""
        if self.unanswered:
            return None
        state = copy(self)
        state.handled += 1
        state.handle(event)
        if isinstance(event.outcome, codec.Ping):
            state._token = event.outcome.token
        return state

    def answered(self, message: codec.Message) -> tuple[_State | None, str]:
        """Return the state after a message of the daemon, or the reason why it is out of order."""
        state = copy(self)
        verdict, why = state.follow("guest", message)
        if verdict is MessageOrder.OUT_OF_ORDER:
            return None, why
        if isinstance(message, codec.Pong) and message.token != self._token:
            return None, "the last `ping` has another token"
        if isinstance(message, codec.Error):
            if self.owed != (message.id, message.code in list(codec.Fault)):
                return None, "no frame with this id and this kind of fault has to be refused"
        elif self.owed:
            return None, "a frame has to be refused first"
        return state, ""


class DaemonTrace:
    """The messages between a host and a daemon, of which the daemon's must be in order.

    :ivar states: Possible states of the daemon.
    """

    def __init__(self) -> None:
        """Begin with a daemon that has received nothing."""
        self._recording = Recording(frozenset({"guest"}), is_first=True)
        self._reader = FrameReader()
        self._frames: list[Event] = []
        self.states = [_State()]

    def sent(self, data: bytes) -> None:
        """Record bytes that the host has sent."""
        for event in self._reader.feed(data):
            message = None if isinstance(event.outcome, codec.DecodeError) else event.outcome
            self._recording.add("host", message)
            self._frames.append(event)

    def received(self, message: codec.Message) -> None:
        """Record a message that the host has received.

        :raises OutOfOrder: The message is out of order, whatever the daemon had handled before.
        """
        self._recording.add("guest", message)
        possible: dict[object, _State] = {}
        reasons = dict[str, None]()
        seen = set[object]()
        states = [*self.states]
        while states:
            state = self._after_credit(states.pop())
            if state.key in seen:
                continue
            seen.add(state.key)
            after, why = state.answered(message)
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
        self.states = [*possible.values()]
        self._forget()

    def fell_silent(self) -> None:
        """Record that the daemon has sent nothing for a long time, or sends nothing more.

        :raises OutOfOrder: The daemon has to answer a frame, whatever it had handled before.
        """
        for each in self.states:
            state: _State | None = each
            while state and state.handled < len(self._frames):
                state = state.after(self._frames[state.handled])
            if state and not state.unanswered:
                return
        before = [each.outcome for each in self._frames[-3:]]
        raise OutOfOrder(
            f"silence is out of order, because a frame is not answered; after {before}"
        )

    def _after_credit(self, state: _State) -> _State:
        """Return the state after the daemon has handled all input and credit that come next.

        These frames only let the daemon send more credit or more output, and the daemon may send
        less than it could. So it is enough to follow the daemon that handles them first. Otherwise
        each output that precedes a credit would leave one more possible state.
        """
        while state.handled < len(self._frames):
            frame = self._frames[state.handled]
            is_skipped = isinstance(frame.outcome, codec.ExecStdin | codec.ExecCredit)
            later = state.after(frame) if is_skipped else None
            if later is None or later.owed:
                break
            state = later
        return state

    def _forget(self) -> None:
        """Forget the frames that the daemon certainly has handled."""
        handled = min(each.handled for each in self.states)
        del self._frames[:handled]
        for each in self.states:
            each.handled -= handled
