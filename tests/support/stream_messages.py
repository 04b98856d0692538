"""Messages about streams, as the test vectors of conversations describe them."""

from __future__ import annotations

from microvm.wire import streams

from .vectors import SentVector

LISTENER = 1000
"""The id of the listener that each `accept` message names."""


def message_of(sent: SentVector) -> streams.Message:
    """Return a message with the fields of a vector."""
    fields = dict(sent.fields)
    match sent.name:
        case "connect":
            return streams.Connect(sent.id, fields.get("credit", 1), 80, b"")
        case "connected":
            return streams.Connected(sent.id, fields.get("credit", 1))
        case "refused":
            return streams.Refused(sent.id, 111)
        case "data":
            return streams.Data(sent.id, bytes(fields.get("data", 1)))
        case "credit":
            return streams.Credit(sent.id, fields.get("amount", 1))
        case "listen":
            return streams.Listen(sent.id, 0)
        case "listening":
            return streams.Listening(sent.id, 80)
        case "not_listening":
            return streams.NotListening(sent.id, 98)
        case "accepted":
            return streams.Accepted(sent.id, fields.get("credit", 1))
        case "not_accepted":
            return streams.NotAccepted(sent.id, 24)
        case "accept":
            return streams.Accept(sent.id, fields.get("credit", 1), LISTENER)
        case "eof":
            return streams.Eof(sent.id)
    assert sent.name == "reset"
    return streams.Reset(sent.id)
