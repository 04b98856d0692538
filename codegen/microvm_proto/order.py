"""Finds the first message of a stream that is out of order in the conversations of a schema."""

from __future__ import annotations

from microvm_proto.conversation_rules import MessageOrder, SentMessage
from microvm_proto.follower import Follower
from microvm_proto.frame import Value
from microvm_proto.schema import Message, Schema
from microvm_proto.splitter import Frame


class OrderCheck:
    """Finds the first message of a stream that is out of order.

    A stream may begin in the middle of a conversation. Only if its first message can begin a
    conversation, the stream is taken for a whole one.
    """

    def __init__(self, schema: Schema, sender: str | None) -> None:
        """Check a stream of messages of the side `sender`.

        :param sender: None if one side has sent the messages, but it is unknown which; or if the
            stream contains the messages of both sides, in the order in which one of them has sent
            and received them.
        """
        self._schema = schema
        self._messages: dict[Value, Message] = {each.number: each for each in schema.messages}
        self._counted = {
            amount.message
            for conversation in schema.conversations
            for counter in conversation.counters
            for amount in (*counter.adds, *counter.takes)
            if amount.field and not amount.condition
        }
        """Names of the messages whose fields change counters under no condition."""
        self._side = sender
        """Side that has sent all messages so far; None if no message shows it."""
        self._one = _FirstFault(Follower(schema, side=sender, alone=True)) if sender else None
        """Check of a stream of one side; None if the stream is not certainly, or not, of one."""
        self._both = None if sender else _FirstFault(Follower(schema))

    @property
    def fault(self) -> str:
        """One line about the first message that is out of order; empty if there is none."""
        check = self._one or self._both
        return check.fault if check else ""

    def lose(self) -> None:
        """Consider every state possible, because an unknown number of frames was lost."""
        for check in filter(None, (self._one, self._both)):
            check.lose()

    def follow(self, number: int, frame: Frame) -> str:
        """Follow a valid frame, and return the fault that it reveals, or "" if it reveals none."""
        if self.fault:
            return ""
        values = {part.name: part.value for part in frame.parts if not part.number}
        kind, id_ = self._messages[values["type"]], values.get("id", 0)
        fields = {}
        if kind.name in self._counted:
            fields = {part.name: part.value for part in frame.parts if part.number}
        sender = self._side if kind.sender == "both" else kind.sender
        message = SentMessage(sender or "", kind.name, id_ if isinstance(id_, int) else 0, fields)
        title = f"frame {number}, at {frame.at}"
        if self._both and kind.sender == "both":
            self._both.lose()  # either side may have sent it
        elif self._both:
            self._both.follow(title, message)
        if self._both and sender and self._side is None:
            self._side = sender
            self._one = _FirstFault(Follower(self._schema, side=sender, alone=True))
        if self._one and sender == self._side:
            self._one.follow(title, message)
        else:
            self._one = None
        return self.fault


class _FirstFault:
    """The first message that a follower calls out of order.

    :ivar fault: One line about the message; empty if there is none.
    """

    def __init__(self, follower: Follower) -> None:
        self.fault = ""
        self._follower = follower
        self._begun = False

    def lose(self) -> None:
        """Consider every state possible, because frames were lost."""
        self._begun = True
        self._follower.lose()

    def follow(self, title: str, message: SentMessage) -> None:
        """Follow a message, whose frame has the `title`."""
        if self.fault:
            return
        verdict, why = self._follower.follow(message)
        if verdict is MessageOrder.OUT_OF_ORDER and not self._begun:
            self.lose()
            verdict, why = self._follower.follow(message)
        self._begun = True
        if verdict is MessageOrder.OUT_OF_ORDER:
            self.fault = f"{title}: `{message.name}` is out of order, because {why}"
