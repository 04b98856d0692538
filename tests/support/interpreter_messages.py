"""Messages of interpreters, as the test vectors of conversations describe them."""

from __future__ import annotations

from microvm.wire import interpreter as wire
from microvm.wire.interpreter import CellEnding, Death, Message, Stream

from .vectors import SentVector

RESULT = wire.Result(CellEnding.COMPLETED, 0, False, "", "", "", 0, b"")
"""The result of a cell without a value."""


def message_of(sent: SentVector) -> Message:
    """Return a message with the fields of a vector."""
    size = sent.fields.get("data", 1)
    messages: dict[str, Message] = {
        "ready": wire.Ready(wire.DIGEST),
        "credit": wire.Credit(sent.fields.get("amount", 1)),
        "piece": wire.Piece(0, bytes(size)),
        "run": wire.Run(0, b"1"),
        "output": wire.Output(Stream.STDOUT, bytes(size)),
        "display": wire.Display(True, False, "text/plain", 0, bytes(size)),
        "ask": wire.Ask(1, False, "?"),
        "answer": wire.Answer(1, True, "yes"),
        "result": RESULT,
        "assign": wire.Assign("x", 0, b"1"),
        "fetch": wire.Fetch("x"),
        "value": wire.Value(0, b"1"),
        "renew": wire.Renew(bytes(32)),
        "done": wire.Done(),
        "failed": wire.Failed("NameError", "x"),
        "interrupt": wire.Interrupt(),
        "kill_started": wire.KillStarted(),
        "kill": wire.Kill(),
        "died": wire.Died(Death.EXITED, 1),
    }
    return messages[sent.name]
