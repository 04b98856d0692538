"""Messages about streams, as the test vectors of conversations describe them."""

from __future__ import annotations

from microvm.wire import streams

from .vectors import SentVector


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
        case "eof":
            return streams.Eof(sent.id)
    assert sent.name == "reset"
    return streams.Reset(sent.id)
