"""Generate test vectors for conversations: the state after each message, and those out of order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from microvm_proto.backends.vectors.next_messages import NextMessage, NextMessages, Place
from microvm_proto.backends.vectors.walk import Walk
from microvm_proto.conversation_rules import MessageOrder
from microvm_proto.schema import Schema
from microvm_proto.states import Counter

FORMAT = [
    "A conversation is a list of messages: [sender, name, id, conditions that hold, fields, "
    "state]. The fields are those that change counters, as a number, or as a number of bytes. The "
    "state follows the message. It is that of the conversation of its id if the id is not 0 and "
    "there are conversations per id; otherwise it is that of the connection. It is null if the "
    "receiver ignores the message. The first message that is out of order has the index "
    "out_of_order, counted from 0; null if there is none.",
]

_MOST = 40
"""Maximum number of messages that fill a counter, and empty it again."""

_Found: TypeAlias = tuple[str, Walk, MessageOrder]
"""Name of a vector, its messages, and the verdict on the last one."""


def conversations(schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield test vectors for the conversations of a schema."""
    search = _Search(schema)
    groups = (
        search.in_order(),
        search.out_of_order(),
        search.beyond_counters(),
        search.above_maximum(),
        search.of_ids(),
    )
    for name, walk, verdict in itertools.chain(*groups):
        index = len(walk.rows) - 1 if verdict is MessageOrder.OUT_OF_ORDER else None
        yield {"name": name, "messages": walk.rows, "out_of_order": index}


class _Search:
    """The search for conversations that together test all rules of a schema.

    The rules themselves are those of the follower.
    """

    def __init__(self, schema: Schema) -> None:
        self._next = NextMessages(schema)
        self._moves: dict[Place, list[Sequence[NextMessage]]] = {}
        self._walks = {walk.place: walk for walk in self._explore(Walk(schema))}
        self._done: set[NextMessage] = set()

    def _explore(self, start: Walk) -> Iterator[Walk]:
        """Yield a shortest conversation to each place, and remember the moves to other places."""
        seen, queue = {start.place}, deque([start])
        while queue:
            walk = queue.popleft()
            yield walk
            reached = {walk.place}
            moves = self._moves[walk.place] = []
            for message in self._expected(walk.place):
                longer, messages = self._extended(walk, message)
                if messages and longer.place not in reached:
                    reached.add(longer.place)
                    moves.append(messages)
                if longer.place not in seen:
                    seen.add(longer.place)
                    queue.append(longer)

    def _paths(self, start: Walk, names: Collection[str] = ()) -> Iterator[Walk]:
        """Yield shortest conversations to each place, without and with messages of these names."""
        seen = {(start.place, frozenset[str]())}
        queue = deque([(start, frozenset[str]())])
        while queue:
            walk, sent = queue.popleft()
            yield walk
            place = walk.place
            more = [[each] for each in self._expected(place) if each.name in names]
            for messages in (*self._moves[place], *more):
                longer, verdicts = walk.then(*messages)
                key = longer.place, sent | {each.name for each in messages if each.name in names}
                if _are_expected(verdicts) and key not in seen:
                    seen.add(key)
                    queue.append((longer, key[1]))

    def _expected(self, place: Place) -> list[NextMessage]:
        """Return the messages of steps and those that are ignored, first without conditions."""
        expected = (each for each in self._next.at(place) if each.is_expected)
        return sorted(expected, key=lambda each: len(each.conditions))

    def _extended(self, walk: Walk, message: NextMessage) -> tuple[Walk, Sequence[NextMessage]]:
        """Add a message, if necessary after messages that fill its counters.

        Return the conversation as it was, and no messages, if the message is out of order even so.
        """
        place = walk.place
        for before in ([], self._next.refills(message, place)):
            filled, verdicts = walk.then(*before)
            longer, last = filled.then(message)
            if filled.place == place and _are_expected([*verdicts, *last]):
                return longer, [*before, message]
        return walk, []

    def in_order(self) -> Iterator[_Found]:
        """Yield conversations with each step, and with each message that is ignored."""
        for place, walk in self._walks.items():
            number = 0
            while (tour := self._tour(walk)) is not walk:
                number += 1
                yield f"{_name(place)}: in order, {number}", tour, MessageOrder.IN_ORDER
        for place in self._walks:
            for message in self._expected(place):
                if message not in self._done and (found := self._late(place, message)):
                    self._done.add(message)
                    yield f"{_name(place)}: {_text(message)}", found, MessageOrder.IN_ORDER

    def _tour(self, walk: Walk) -> Walk:
        """Add all expected messages that no conversation has yet, as far as they can follow."""
        tour, leaving = walk, True
        while leaving:
            place, leaving = tour.place, False
            left = [each for each in self._expected(place) if each not in self._done]
            for message in left:
                longer, messages = self._extended(tour, message)
                # First those that stay in this place.
                if messages and longer.place == place:
                    tour = longer
                    self._done |= {*messages}
            for message in left:
                longer, messages = self._extended(tour, message)
                if not {*messages} <= self._done:
                    tour, leaving = longer, True
                    self._done |= {*messages}
                    break
        return tour

    def _late(self, place: Place, message: NextMessage) -> Walk | None:
        """Return a conversation that ends with `message`, and is in order up to that message.

        If `message` takes from counters, earlier messages of the conversation add to them.

        :param place: State in which `message` is sent if no such conversation is found.
        """
        fills = {each.message for counter in self._next.takes(message) for each in counter.adds}
        (start,) = itertools.islice(self._walks.values(), 1)
        for walk in self._paths(start, fills):
            if message in self._next.at(walk.place):
                longer, verdicts = walk.then(message)
                if _are_expected(verdicts):
                    return longer
        longer, verdicts = self._walks[place].then(message.with_amounts({}))
        return longer if _are_expected(verdicts) else None

    def out_of_order(self) -> Iterator[_Found]:
        """Yield conversations that end with a message that is out of order in its state."""
        for place, walk in self._walks.items():
            for message in self._next.at(place):
                if message.is_expected or message in self._done:
                    continue
                longer, (verdict,) = walk.then(message)
                if verdict is MessageOrder.OUT_OF_ORDER:
                    self._done.add(message)
                    yield f"{_name(place)}: {_text(message)}", longer, verdict

    def beyond_counters(self) -> Iterator[_Found]:
        """Yield conversations that take too much from each counter, or answer too often."""
        done = set[tuple[str, str]]()
        # If possible, something is taken before.
        for is_filled, (place, walk) in itertools.product((True, False), self._walks.items()):
            for message in self._expected(place):
                start, messages = self._extended(walk, message) if is_filled else (walk, [message])
                longer, (verdict,) = start.then(message)
                if not messages or verdict is not MessageOrder.OUT_OF_ORDER:
                    continue
                for counter in self._next.takes(message):
                    key = counter.name, message.name
                    if key not in done:
                        done.add(key)
                        text = f"{_text(message)} beyond {counter.name}"
                        yield f"{_name(place)}: {text}", longer, verdict

    def above_maximum(self) -> Iterator[_Found]:
        """Yield conversations that add more to a counter than its maximum, and take more."""
        for counter in self._next.counters:
            for place, walk in self._walks.items():
                if found := self._saturated(walk, place, counter, counter.max or 0):
                    text = f"more than the maximum of {counter.name}"
                    yield f"{_name(place)}: {text}", found, MessageOrder.OUT_OF_ORDER
                    break

    def _saturated(self, walk: Walk, place: Place, counter: Counter, most: int) -> Walk | None:
        for add, added, more in self._next.changes(counter.adds, place):
            for take, taken, less in self._next.changes(counter.takes, place):
                if not most or most // more + most // less + 3 > _MOST:
                    continue
                adding = [min(most, more)] * (most // min(most, more) + 1)
                taking = [less] * (most // less) + [each for each in (most % less, 1) if each]
                longer, verdicts = walk.then(
                    *(add.with_amounts({added: size}) for size in adding),
                    *(take.with_amounts({taken: size}) for size in taking),
                )
                if _are_expected(verdicts[:-1]) and verdicts[-1] is MessageOrder.OUT_OF_ORDER:
                    return longer
        return None

    def of_ids(self) -> Iterator[_Found]:
        """Yield conversations in which the ids matter: those of two ids, and of forgotten ids."""
        allowed = set[tuple[str, str]]()
        others = set[str]()
        for place, walk in self._walks.items():
            for message in self._expected(place):
                if message.scope != "id":
                    continue
                longer, messages = self._extended(walk, message)
                key = place.outer, message.sender
                if messages and key not in allowed:
                    allowed.add(key)
                    text = f"the {message.sender} sends messages with ids"
                    yield f"{_name(place)}: {text}", longer, MessageOrder.IN_ORDER
                longer, (verdict,) = walk.then(replace(message, id=2))
                if verdict is not MessageOrder.OUT_OF_ORDER or place.inner in others:
                    continue
                others.add(place.inner)
                yield f"{_name(place)}: {_text(message)} with another id", longer, verdict
                if forgotten := self._forgotten(walk, message):
                    yield f"{_name(place)}: {_text(message)}, forgotten", forgotten, verdict

    def _forgotten(self, walk: Walk, message: NextMessage) -> Walk | None:
        """Return a conversation in which the connection ends all conversations per id."""
        for ended in self._paths(walk):
            if self._next.allows(ended.place.outer):
                continue
            for again in self._paths(ended):
                if self._next.allows(again.place.outer, message.sender):
                    longer, (verdict,) = again.then(message)
                    return longer if verdict is MessageOrder.OUT_OF_ORDER else None
        return None


def _are_expected(verdicts: Sequence[MessageOrder]) -> bool:
    return all(each in (MessageOrder.IN_ORDER, MessageOrder.IGNORED) for each in verdicts)


def _name(place: Place) -> str:
    return ", ".join(filter(None, place))


def _text(message: NextMessage) -> str:
    held = f" ({', '.join(message.conditions)})" if message.conditions else ""
    return f"{message.name} by {message.sender}{' of an id' if message.id else ''}{held}"
