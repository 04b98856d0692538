"""A conversation that is built message by message, and judged by a follower."""

from __future__ import annotations

from copy import copy
from typing import Any

from microvm_proto.backends.vectors.next_messages import NextMessage, Place
from microvm_proto.conversation_rules import MessageOrder, SentMessage
from microvm_proto.follower import Follower
from microvm_proto.schema import Schema


class Walk:
    """A conversation, to which messages can be added."""

    def __init__(self, schema: Schema) -> None:
        self._held: set[str] = set()
        self._follower = Follower(schema, lambda name, _: name in self._held)
        self._has_ids = any(each.per == "id" for each in schema.conversations)
        self.rows: list[list[Any]] = []

    def __copy__(self) -> Walk:
        other = object.__new__(Walk)
        other.__dict__ |= self.__dict__
        other._follower, other.rows = copy(self._follower), [*self.rows]
        return other

    @property
    def place(self) -> Place:
        """The states after the last message."""
        return Place(self._state(0), self._state(1) if self._has_ids else "")

    def then(self, *messages: NextMessage) -> tuple[Walk, list[MessageOrder]]:
        """Return this conversation with more messages, and whether each of them is in order."""
        other = copy(self)
        return other, [other._add(each) for each in messages]

    def _add(self, each: NextMessage) -> MessageOrder:
        self._held.clear()
        self._held.update(each.conditions)
        sent = SentMessage(each.sender, each.name, each.id, each.fields)
        verdict = self._follower.follow(sent).verdict
        state = self._state(each.id) if verdict is MessageOrder.IN_ORDER else None
        row = [each.sender, each.name, each.id, [*each.conditions], {**each.fields}, state]
        self.rows.append(row)
        return verdict

    def _state(self, id_: int) -> str:
        inner = id_ and self._has_ids
        (state,) = self._follower.states_of(id_) if inner else self._follower.states
        return state
