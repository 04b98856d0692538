"""The events of a run of the model: messages that a side sends, receives, ignores or refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from microvm_proto.schema import Schema

_EVENT = re.compile(r"^\s*event: (\w+) (\w+)(?: (\d+) (\d+) (\d+) (\d+))?$", re.M)
FILLER = 100
_HALF = 101


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """An event of a run.

    :ivar side: Side at which the event happens, or `port`.
    :ivar verb: One of: sends, receives, ignores (by its tables), drops (before it looks at them),
        refuses. The port closes, opens or loses.
    :ivar message: Name of the message. `filler` and `half` are bytes that are no message.
    :ivar id: Id of a conversation, 1 for the first one of the run; 0 for none.
    :ivar contents: Number of the condition that the contents of the message satisfy; 0 if they
        satisfy none. For `hello` and `ready`, this is the nonce instead. For an `exec_request` with
        the flag `beside`, it is 1.
    :ivar amount: Number that changes the counters.
    """

    side: str
    verb: str
    message: str = ""
    id: int = 0
    contents: int = 0
    amount: int = 0

    def __str__(self) -> str:
        words = [self.side, self.verb, self.message, *([f"of id {self.id}"] if self.id else [])]
        numbers = {"contents": self.contents, "amount": self.amount}
        words += [f"{name} {number}" for name, number in numbers.items() if number]
        return " ".join(filter(None, words))


def events(schema: Schema, printed: str) -> Iterator[ModelEvent]:
    """Yield the events that Spin, or a program made by Spin, has printed."""
    names = dict(enumerate((message.name for message in schema.messages), 1))
    begin = {
        step.message
        for each in schema.conversations
        if each.per == "id"
        for step in each.states[0].steps
    }
    # The model uses its few ids again, and a real session does not.
    ids, last = {0: 0}, 0
    for side, verb, *numbers in _EVENT.findall(printed):
        if not numbers[0]:
            yield ModelEvent(side, verb)
            continue
        kind, slot, contents, amount = map(int, numbers)
        name = names.get(kind, "filler" if kind == FILLER else "half")
        if verb == "sends" and name in begin:
            last += 1
            ids[slot] = last
        yield ModelEvent(side, verb, name, ids.get(slot, 0), contents, amount)
