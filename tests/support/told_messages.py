"""The messages of sandboxd for the conversations in the test vectors."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from microvm.wire import codec
from microvm.wire.codec import Ending, ErrorCode, GoodbyeReason, Stage, StdinKind, Stream

from .daemon import request
from .vectors import SentVector

NONCE = 7
"""The nonce of each `hello`."""


def message_of(sent: SentVector, *argv: bytes) -> codec.Message:
    """Return a message for which the conditions of a vector hold.

    :param argv: command to run if the message is a request.
    """
    id_, fields = sent.id, defaultdict(lambda: 1, sent.fields)
    stream = Stream.STDERR if "stderr" in sent.conditions else Stream.STDOUT
    given: dict[str, codec.Message] = {
        "hello": codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, NONCE),
        "ready": codec.Ready(
            codec.VERSION,
            codec.DIGEST,
            codec.MAX_BODY,
            NONCE + ("own_nonce" not in sent.conditions),
        ),
        "resume": codec.Resume(0, b""),
        "ping": codec.Ping(1),
        "pong": codec.Pong(1),
        "status_request": codec.StatusRequest(),
        "status": codec.Status(*[1] * 10),
        "shutdown": codec.Shutdown(),
        "goodbye": codec.Goodbye(GoodbyeReason.BROKEN),
        "keep": codec.Keep(),
    }
    if sent.name in given:
        return given[sent.name]
    match sent.name:
        case "error":
            code = 1 if "malformed" in sent.conditions else ErrorCode.STALE_ID
            code = ErrorCode.BUSY if "busy" in sent.conditions else code
            return codec.Error(id_, code, codec.ExecRequest.TYPE, 0, 0)
        case "exec_request":
            return replace(
                request(id_, *argv or (b"true",)),
                stdout_credit=fields["stdout_credit"],
                stderr_credit=fields["stderr_credit"],
                stdin_from=StdinKind.HOST,
            )
        case "exec_output":
            return codec.ExecOutput(id_, stream, bytes(fields["data"]))
        case "exec_response":
            return codec.ExecResponse(id_, Ending.EXITED, 0)
        case "exec_failed":
            return codec.ExecFailed(id_, Stage.LOOKUP, 2)
        case "exec_signal":
            return codec.ExecSignal(id_, 0)
        case "exec_kill":
            return codec.ExecKill(id_)
        case "exec_terminate":
            return codec.ExecTerminate(id_)
        case "exec_credit":
            return codec.ExecCredit(id_, stream, fields["amount"])
        case "exec_stdin":
            return codec.ExecStdin(id_, bytes(fields["data"]))
        case "exec_stdin_credit":
            return codec.ExecStdinCredit(id_, fields["amount"])
        case "exec_stdin_closed":
            return codec.ExecStdinClosed(id_)
        case "exec_resize":
            return codec.ExecResize(id_, 24, 80)
    raise KeyError(sent.name)
