"""Follows the conversations of a connection, and tells which messages are out of order."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import NamedTuple

from microvm_proto.conversation_rules import (
    Effect,
    Holds,
    MessageOrder,
    Rules,
    SentMessage,
    StateCopy,
)
from microvm_proto.schema import Schema
from microvm_proto.states import Conversation, ConversationState

MAX_IDS = 1024
"""Maximum number of ids whose conversations a follower remembers."""

_MAX_COPIES = 64
"""Maximum number of possible copies of a state; beyond it, the counters become unknown."""

_MAX_REFUSED = 1024
"""Maximum number of refused messages that are remembered; after more, any refusal is accepted."""


class Judgement(NamedTuple):
    """The verdict on a message.

    :ivar why: Reason why the message is out of order; empty for other verdicts.
    """

    verdict: MessageOrder
    why: str = ""


class _Ids:
    """The conversations per id, of which at most `MAX_IDS` are remembered.

    A conversation in its first state takes no memory. If there are too many others, the
    conversation that had no message for the longest time is forgotten. From then on, the state of
    each id between the lowest and the highest forgotten id is unknown.
    """

    def __init__(self, rules: Rules, *, known: bool = True) -> None:
        """Create the conversations. If they are not `known`, the state of each id is unknown."""
        self._rules = rules
        self._copies: dict[int, frozenset[StateCopy]] = {}
        self._known = known
        self._forgotten = range(0)

    def __copy__(self) -> _Ids:
        other = _Ids(self._rules, known=self._known)
        other._copies, other._forgotten = self._copies.copy(), self._forgotten
        return other

    @property
    def snapshot(self) -> object:
        """The states of all conversations, as a hashable object that can be compared."""
        return frozenset(self._copies.items()), self._known, self._forgotten

    def __getitem__(self, id_: int) -> frozenset[StateCopy]:
        if found := self._copies.get(id_):
            return found
        if id_ in self._forgotten or not self._known:
            return self._rules.all
        return frozenset([self._rules.first])

    def __setitem__(self, id_: int, copies: frozenset[StateCopy]) -> None:
        self._copies.pop(id_, None)
        if copies == self[id_]:
            return
        self._copies[id_] = copies
        if len(self._copies) > MAX_IDS:
            oldest = next(iter(self._copies))
            del self._copies[oldest]
            old = self._forgotten or range(oldest, oldest)
            self._forgotten = range(min(old.start, oldest), max(old.stop, oldest + 1))


class _Connection(NamedTuple):
    """A possible state of a connection: of its own conversation, and of those per id."""

    copy: StateCopy
    ids: _Ids


class Follower:
    """Follows the conversations of one connection, with bounded memory.

    The effect of a message can depend on conditions that the follower does not know. So the
    follower keeps every state that is possible, and calls a message out of order only if it is out
    of order in each of them. A message that is out of order changes no state.
    """

    def __init__(
        self,
        schema: Schema,
        holds: Holds | None = None,
        *,
        side: str | None = None,
        alone: bool = False,
    ) -> None:
        """Follow a new connection.

        :param holds: Function that tells whether a condition holds. By default, this is unknown.
        :param side: Side that sends and receives the messages in the order in which they are given.
            None if this is unknown; then a side may also send messages that are ignored.
        :param alone: True if only the messages that `side` sends are given, and not those that it
            receives.
        """
        self._ends = schema.ends
        per = {each.per: each for each in schema.conversations}
        free = Conversation("", "", "connection", (ConversationState("", "", (), ids=self._ends),))
        hidden = self._other(side) if side and alone else None

        def rules(conversation: Conversation) -> Rules:
            return Rules(conversation, holds or _unknown, side, hidden)

        self._outer = rules(per.get("connection", free))
        self._inner = rules(per["id"]) if "id" in per else None
        self._refusals = {each.refusal for each in schema.conversations} - {""}
        self._is_free = "connection" not in per
        self._refused: dict[tuple[str, int], int] | None = None if hidden else {}
        """For a side and an id: number of messages that the side may still refuse. None if any."""
        self._none = _Ids(self._inner or self._outer)
        """The conversations per id when all of them are in their first state."""
        self._connections = {_Connection(self._outer.first, self._none)}
        self._still: dict[tuple[object, ...], Judgement] | None = None if holds else {}
        """Judgements on messages that change nothing, in the present states. None if they can
        depend on conditions."""

    def __copy__(self) -> Follower:
        other = object.__new__(Follower)
        other.__dict__ |= self.__dict__
        ids = {each.ids: copy(each.ids) for each in self._connections if each.ids != self._none}
        other._connections = {
            each._replace(ids=ids.get(each.ids, each.ids)) for each in self._connections
        }
        other._refused = None if self._refused is None else self._refused.copy()
        other._still = None if self._still is None else {}
        return other

    @property
    def states(self) -> set[str]:
        """Names of the possible states of the conversation per connection."""
        return {each.copy.state for each in self._connections}

    def states_of(self, id_: int) -> set[str]:
        """Return the names of the states that the conversation with this id may have."""
        return {copy.state for each in self._connections for copy in each.ids[id_]}

    @property
    def unanswered(self) -> bool:
        """True if a request of the conversation per connection may still be unanswered."""
        return any(self._outer.unanswered(each.copy) for each in self._connections)

    @property
    def snapshot(self) -> object:
        """All that decides about later messages, as a hashable object that can be compared."""
        connections = frozenset((each.copy, each.ids.snapshot) for each in self._connections)
        refused = None if self._refused is None else frozenset(self._refused.items())
        return connections, refused

    def lose(self) -> None:
        """Continue after an unknown number of unknown messages, with every state possible."""
        ids = _Ids(self._inner or self._outer, known=False)
        self._connections = {_Connection(each, ids) for each in self._outer.all}
        self._refused = None
        self._still = None if self._still is None else {}

    def follow(self, message: SentMessage) -> Judgement:
        """Judge a message, and change to the states that can follow it."""
        if self._is_free and not (message.id and self._inner):
            return Judgement(MessageOrder.IN_ORDER)
        if self._still and not message.fields and (still := self._still.get(message[:3])):
            return still
        found = _Findings(message, may_refuse=self._may_refuse(message))
        by_ids: dict[_Ids, set[StateCopy]] = {}
        for each in self._reached():
            for effect in self._effects(each, message):
                if effect is None:
                    by_ids.setdefault(each.ids, set()).add(each.copy)
                elif found.accepts(self._outer, effect):
                    found.following.add(self._entered(effect.copy, each.ids))
        for ids, copies in by_ids.items():
            if self._inner and (changed := self._of_id(self._inner, ids, message, found)):
                found.following |= {_Connection(each, changed) for each in copies}
        verdict = next(each for each in MessageOrder if each in found.verdicts)
        if self._still is not None:
            moved = found.changed or found.following != self._connections
            if moved or verdict not in (MessageOrder.IN_ORDER, MessageOrder.IGNORED):
                self._still.clear()
            elif not message.fields and len(self._still) < MAX_IDS:
                self._still[message[:3]] = Judgement(verdict)
        if verdict is MessageOrder.OUT_OF_ORDER:
            self.refuse(message)
            return Judgement(verdict, found.why)
        self._connections = found.following
        if verdict is MessageOrder.REFUSAL:
            self._refused_by(message)
        elif self._inner and not any(map(self._has_ids, self._connections)):
            self._refused = {}
        if len(self._connections) > _MAX_COPIES:
            self._connections = {
                _Connection(each, ids)
                for copy, ids in found.following
                for each in self._outer.without_numbers([copy])
            }
        return Judgement(verdict)

    def _effects(self, connection: _Connection, message: SentMessage) -> Iterator[Effect | None]:
        """Yield the effects on the connection's conversation; None if that of the id decides."""
        state = self._outer.states[connection.copy.state]
        effects = self._outer.effects(connection.copy, message)
        if not (message.id and self._inner):
            yield from effects
            return
        # The header of a refusal has the id of the refused message, even if the refusal changes the
        # state of the connection.
        for effect in effects:
            if effect.verdict is MessageOrder.IGNORED:
                yield effect
            elif effect.verdict is MessageOrder.OUT_OF_ORDER:
                ignores = state.ignores(message.name, message.sender)
                yield effect if ignores or message.sender not in state.ids else None
            elif message.name in self._refusals:
                yield effect
            else:
                yield None

    def _of_id(
        self, rules: Rules, ids: _Ids, message: SentMessage, found: _Findings
    ) -> _Ids | None:
        """Judge a message by the conversation of its id, and return the ids after it, if any."""
        before = {
            StateCopy(name, numbers)
            for state, numbers in ids[message.id]
            for name, _ in rules.after_hidden[state]
        }
        after = {
            effect.copy
            for copy in before
            for effect in rules.effects(copy, message)
            if found.accepts(rules, effect)
        }
        if not after:
            return None
        if ids is self._none:
            ids = _Ids(rules)
        elif any(each.ids is ids for each in found.following):
            after |= before
        few = len(after) <= _MAX_COPIES
        changed = frozenset(after) if few else rules.without_numbers(after)
        found.changed |= changed != ids[message.id]
        ids[message.id] = changed
        return ids

    def _may_refuse(self, message: SentMessage) -> bool:
        """Return True if the message may refuse an earlier message, which was out of order."""
        if message.name not in self._refusals:
            return False
        return self._refused is None or (message.sender, message.id) in self._refused

    def refuse(self, message: SentMessage) -> None:
        """Remember that the other side may refuse the message.

        Call this instead of `follow` for a message that is out of order for another reason than the
        schema's conversations.
        """
        if self._refused is not None and self._refusals:
            key = self._other(message.sender), message.id
            self._refused[key] = self._refused.get(key, 0) + 1
            if len(self._refused) > _MAX_REFUSED:
                self._refused = None

    def _refused_by(self, refusal: SentMessage) -> None:
        """Remember that a message was refused, so that it is not refused again."""
        if self._refused is not None:
            key = refusal.sender, refusal.id
            self._refused[key] -= 1
            if not self._refused[key]:
                del self._refused[key]

    def _reached(self) -> set[_Connection]:
        """Return the connections to which messages of the hidden side can lead."""
        return {
            _Connection(StateCopy(name, copy.numbers), self._none if ended else ids)
            for copy, ids in self._connections
            for name, ended in self._outer.after_hidden[copy.state]
        }

    def _entered(self, copy: StateCopy, ids: _Ids) -> _Connection:
        """Return the connection in this copy of its state, which can end all conversations."""
        return _Connection(copy, ids if self._outer.states[copy.state].ids else self._none)

    def _has_ids(self, connection: _Connection) -> bool:
        return bool(self._outer.states[connection.copy.state].ids)

    def _other(self, side: str) -> str:
        return self._ends[self._ends[0] == side]


class _Findings:
    """The findings about one message: the states that can follow it, and why others cannot.

    :ivar verdicts: Verdicts in the possible states.
    :ivar following: Connections that can follow the message.
    :ivar changed: True if the message can change the state of the conversation of its id.
    """

    def __init__(self, message: SentMessage, *, may_refuse: bool) -> None:
        self.verdicts: set[MessageOrder] = set()
        self.following: set[_Connection] = set()
        self.changed = False
        self._message = message
        self._may_refuse = may_refuse
        self._refused: list[tuple[Rules, Effect]] = []

    def accepts(self, rules: Rules, effect: Effect) -> bool:
        """Note an effect of the message; return False if the message is out of order."""
        verdict = effect.verdict
        if verdict is MessageOrder.OUT_OF_ORDER:
            if self._may_refuse:
                verdict = MessageOrder.REFUSAL
            else:
                self._refused.append((rules, effect))
        self.verdicts.add(verdict)
        return verdict is not MessageOrder.OUT_OF_ORDER

    @property
    def why(self) -> str:
        """The reasons why the message is out of order, in a stable order."""
        reasons = {effect.why for _, effect in self._refused if effect.why}
        states: dict[str, set[str]] = {}
        for rules, effect in self._refused:
            if not effect.why:
                allowed = self._allowed(rules.states[effect.copy.state])
                where = f"`{effect.copy.state}` of `{rules.conversation.name}`"
                states.setdefault(allowed, set()).add(where)
        for allowed, names in states.items():
            plural = "s" if len(names) > 1 else ""
            where = f"in the state{plural} {' or '.join(sorted(names))}"
            reasons.add(f"{where}, the {self._message.sender} sends {allowed}")
        return "; ".join(sorted(reasons))

    def _allowed(self, state: ConversationState) -> str:
        """Return the messages that the sender may send in a state, as text."""
        sender = self._message.sender
        conditions: dict[str, set[str]] = {}
        for step in state.steps:
            if step.sender == sender:
                conditions.setdefault(step.message, set()).add(step.condition)
        names = [
            f"`{name}`" if "" in each else f"`{name}` (if {' or '.join(sorted(each))})"
            for name, each in conditions.items()
        ]
        if sender in state.ids:
            names.append("messages with ids")
        return f"only {', '.join(names)}" if names else "nothing"


def _unknown(condition: str, message: SentMessage) -> None:
    """Return that it is unknown whether a condition holds."""
