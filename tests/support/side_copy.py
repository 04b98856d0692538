"""A side's copy of the state of a session, which decides whether the next message is in order.

The class `Follower` decides this by the tables of the schema. This module adds only facts that the
tables lack: which conditions hold, and the order of ids.
"""

from __future__ import annotations

import functools
from copy import copy
from typing import Self

from fuzz.frames import Event
from fuzz.report import schema

from microvm.wire import codec
from microvm_proto.conversation_rules import MessageOrder, SentMessage
from microvm_proto.follower import Follower, Judgement

_FIELDS = ("data", "amount", "stdout_credit", "stderr_credit")
"""The fields that counters depend on."""

_CONDITIONS = "conditions"
"""Key under which the fields of a message also contain the conditions that hold."""

_ACTIVE = {"requested", "running"}


@functools.cache
def name_of(number: int) -> str:
    """Return the name of the message with this number."""
    return next(each.name for each in schema().messages if each.number == number)


def fits(request: codec.ExecRequest, running: dict[int, bool]) -> bool:
    """Return True if the new command may start beside the running commands."""
    can = request.beside and all(running.values()) and len(running) < codec.MAX_COMMANDS
    return not running or can


def _holds(condition: str, message: SentMessage) -> bool:
    holds = message.fields[_CONDITIONS]
    assert isinstance(holds, set)
    return condition in holds


class SideCopy:
    """A side's copy of the conversations of a session.

    :ivar last_id: Highest id of a request since the last `hello`; 0 if there was none.
    :ivar owed: Id of a frame that the guest has to refuse, and whether the frame is malformed. None
        if there is no such frame. A correct host sends none.
    """

    def __init__(self, side: str) -> None:
        """Begin a connection on which nothing was sent."""
        self.last_id = 0
        self.owed: tuple[int, bool] | None = None
        self._nonce: object = None
        self._beside: dict[int, bool] = {}  # of each request that was not refused as busy
        self._follower = Follower(schema(), _holds, side=side)

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        other.__dict__ |= self.__dict__
        other._beside = {**self._beside}
        other._follower = copy(self._follower)
        return other

    @property
    def key(self) -> object:
        """Value that is equal for two copies if they judge all later messages alike."""
        beside = tuple(self._running().items())
        return self.last_id, self.owed, self._nonce, beside, self._follower.snapshot

    @property
    def unanswered(self) -> bool:
        """True if the guest has to answer or refuse a frame."""
        return self.owed is not None or self._follower.unanswered

    def handle(self, event: Event) -> MessageOrder:
        """Follow a frame of the host, whether it is valid or malformed."""
        if isinstance(event.outcome, codec.DecodeError):
            self.owed = event.id, True
            return MessageOrder.OUT_OF_ORDER
        return self.follow("host", event.outcome).verdict

    def follow(self, sender: str, message: codec.Message) -> Judgement:
        """Judge a message of the side `sender`, and change to the states that can follow it."""
        running = self._running()
        is_free = not running
        fields = {name: getattr(message, name) for name in _FIELDS if hasattr(message, name)}
        fields[_CONDITIONS] = self._conditions(message, is_free=is_free)
        sent = SentMessage(sender, name_of(message.TYPE), getattr(message, "id", 0), fields)
        is_old = 0 < sent.id <= self.last_id and self._follower.states_of(sent.id) == {"new"}
        if is_old and sender == "host" and self._may_host_send_ids:
            judgement = self._judge_old(sent)
        else:
            judgement = self._follower.follow(sent)
        if sender == "host":
            is_busy = isinstance(message, codec.ExecRequest) and not fits(message, running)
            if is_busy or judgement.verdict is MessageOrder.OUT_OF_ORDER:
                self.owed = sent.id, False
        elif isinstance(message, codec.Error):
            self.owed = None
        if judgement.verdict is not MessageOrder.IN_ORDER:
            return judgement
        match message:
            case codec.Hello(nonce=nonce):
                self._nonce, self.last_id, self._beside = nonce, 0, {}
            case codec.ExecRequest(id=id_, beside=beside):
                self.last_id = id_
                self._beside = running if is_busy else {**running, id_: beside}
        return judgement

    def _running(self) -> dict[int, bool]:
        """Return the flag `beside` of each running command, by the id of the command."""
        states_of = self._follower.states_of
        return {id_: beside for id_, beside in self._beside.items() if _ACTIVE & states_of(id_)}

    @property
    def _may_host_send_ids(self) -> bool:
        """True if the host may send messages about commands in this state of the connection."""
        connection = next(each for each in schema().conversations if each.per == "connection")
        possible = self._follower.states
        return any("host" in each.ids for each in connection.states if each.name in possible)

    def _judge_old(self, sent: SentMessage) -> Judgement:
        """Judge a message with an id that no request has, but that is lower than that of a request.

        By the text of the schema, the conversation of this id has ended. Its tables cannot express
        this, because they have no order of ids. So judge by the state `ended`.
        """
        states = (state for each in schema().conversations for state in each.states)
        if any(each.name == "ended" and each.ignores(sent.name, sent.sender) for each in states):
            return Judgement(MessageOrder.IGNORED)
        self._follower.refuse(sent)
        return Judgement(MessageOrder.OUT_OF_ORDER, "another request has a higher id")

    def _conditions(self, message: codec.Message, *, is_free: bool) -> set[str]:
        """Return the conditions of the schema that hold for a message."""
        code, stream = getattr(message, "code", None), getattr(message, "stream", None)
        refuses = self.owed is not None and self.owed[0] == getattr(message, "id", 0)
        holds = {
            "own_nonce": getattr(message, "nonce", None) == self._nonce,
            "free": is_free,
            "malformed": refuses and code in list(codec.Fault),
            "busy": refuses and code == codec.ErrorCode.BUSY,
            "stdout": stream == codec.Stream.STDOUT,
            "stderr": stream == codec.Stream.STDERR,
        }
        return {name for name, true in holds.items() if true}
