"""Checks that all channels of a test run, with both of their sides, follow the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from microvm.wire import codec
from microvm.wire.channel import Channel
from microvm.wire.session import Session
from microvm_proto.conversation_rules import MessageOrder

from .recording import Recording
from .side_copy import SideCopy


class _ChannelTrace:
    """The trace of one channel, which records the messages that are not in order."""

    def __init__(self, faults: list[str]) -> None:
        self._faults = faults
        self._copy = SideCopy("host")
        self._recording = Recording(frozenset({"host", "guest"}), is_first=False)
        self._decoder = codec.Decoder("host")

    def sent(self, data: bytes) -> None:
        self._decoder.receive_data(data)
        while message := self._decoder.next_message():
            self._judge("host", message)

    def received(self, message: codec.Message) -> None:
        self._judge("guest", message)
        if isinstance(message, codec.Ready):
            self._decoder.version = max(1, min(message.version, codec.VERSION))

    def _judge(self, sender: str, message: codec.Message) -> None:
        self._recording.add(sender, message)
        verdict, why = self._copy.follow(sender, message)
        if verdict is not MessageOrder.IN_ORDER:
            self._faults.append(f"{message} of the {sender} is {verdict.value}: {why}")


@contextmanager
def traced_channels() -> Iterator[list[str]]:
    """Context manager that follows each channel which is created in it, except for subclasses.

    Yield a list, to which faults are appended: messages that are not in order.
    """
    faults: list[str] = []
    traces = WeakKeyDictionary[Channel, _ChannelTrace]()
    create, write = Channel.__init__, Channel.write

    def traced_init(
        self: Channel, session: Session, on_event: Callable[[codec.Message], None], *others: Any
    ) -> None:
        if type(self) is not Channel:  # a test plays its guest, and records its messages
            create(self, session, on_event, *others)
            return
        trace = traces[self] = _ChannelTrace(faults)

        def traced_event(message: codec.Message) -> None:
            trace.received(message)
            on_event(message)

        create(self, session, traced_event, *others)

    def traced_write(self: Channel, *parts: bytes | memoryview) -> None:
        transport = self._transport
        if self in traces and transport and not transport.is_closing():
            traces[self].sent(b"".join(parts))
        write(self, *parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Channel, "__init__", traced_init)
        patch.setattr(Channel, "write", traced_write)
        yield faults
