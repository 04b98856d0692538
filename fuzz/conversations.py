"""Random conversations of a host and a guest, which the tables of the protocol generate."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from microvm.wire import codec
from microvm.wire.codec import Ending, ErrorCode, StdinKind
from microvm.wire.session import WINDOW
from microvm_proto.drawing import Sent

from .generated import random_messages

any_ = random_messages("sandboxd")
_Messages = st.SearchStrategy[codec.Message]


class Past:
    """Facts about the earlier messages on which the conditions of the protocol depend.

    :ivar nonce: The nonce of the last `hello`.
    :ivar tokens: The tokens of the pings that were not answered yet.
    :ivar running: Requests of the running commands, by their ids.
    :ivar last: The highest id of a request.
    :ivar closed: The ids of the running commands that have closed their standard input.
    """

    def __init__(self, sent: Sequence[Sent]) -> None:
        """Follow the messages that were not ignored."""
        self.nonce = self.last = 0
        self.running: dict[int, codec.ExecRequest] = {}
        self.tokens: list[int] = []
        self.closed: set[int] = set()
        for each in sent:
            if each.state:
                self._take(each)
                if each.state == "ended":
                    del self.running[each.message.id]
                    self.closed.discard(each.message.id)

    def _take(self, sent: Sent) -> None:
        match sent.message:
            case codec.Hello(nonce=nonce):
                self.nonce, self.running, self.last = nonce, {}, 0
                self.tokens, self.closed = [], set()
            case codec.Ping(token=token):
                self.tokens.append(token)
            case codec.Pong(token=token) if token in self.tokens:
                self.tokens.remove(token)
            case codec.ExecRequest(id=id_):
                self.last = id_
                self.running[id_] = sent.message
            case codec.ExecStdinClosed(id=id_):
                self.closed.add(id_)


def holds(condition: str, message: codec.Message, sent: Sequence[Sent]) -> bool:
    """Return True if a condition of the protocol holds for a message after others."""
    match condition, message:
        case "own_nonce", codec.Ready(nonce=nonce):
            return nonce == Past(sent).nonce
        case "free", _:
            return not Past(sent).running
        case "malformed", codec.Error(code=code):
            return code < ErrorCode.BUSY
        case "busy", codec.Error(code=code):
            return code == ErrorCode.BUSY
        case (("stdout" | "stderr"), (codec.ExecOutput() | codec.ExecCredit())):
            return condition == message.stream.name.lower()
    return False


_VERSION, _DIGEST = st.just(codec.VERSION), st.just(codec.DIGEST)


def _ready(sent: Sequence[Sent]) -> _Messages:
    nonces = st.sampled_from([Past(sent).nonce] * 3 + [0])
    return any_.ready(version=_VERSION, digest=_DIGEST, nonce=nonces)


def _pong(sent: Sequence[Sent]) -> _Messages:
    tokens = Past(sent).tokens
    return any_.pong(token=st.sampled_from(tokens)) if tokens else any_.pong()


def _request(sent: Sequence[Sent]) -> _Messages:
    running = Past(sent).running.values()
    if not all(request.beside for request in running):
        return st.nothing()
    credit, none = st.just(WINDOW), st.just(())
    return any_.exec_request(
        command=st.just(b"true"),
        cwd=st.just(b""),
        argv=none,
        env=none,
        more_argv=none,
        more_env=none,
        stdout_credit=credit,
        stderr_credit=credit,
        stdin_from=st.just(StdinKind.HOST),
        beside=st.just(True) if running else st.booleans(),
    )


def _of_input(messages: _Messages, sent: Sequence[Sent]) -> _Messages:
    """Return `messages`, or an empty strategy if a running command has closed its standard input.

    `messages` is a strategy for messages about standard input.
    """
    return st.nothing() if Past(sent).closed else messages


_AMOUNTS = st.sampled_from([1, 2, 1000])
_ENDED = any_.exec_response(ending=st.just(Ending.EXITED))

CONVERSATIONS = any_.Conversations(
    {
        codec.Hello: lambda _: any_.hello(version=_VERSION, digest=_DIGEST),
        codec.Ready: _ready,
        codec.Pong: _pong,
        codec.Error: lambda _: st.nothing(),
        codec.ExecRequest: _request,
        codec.ExecOutput: lambda _: any_.exec_output(data=st.binary(min_size=1, max_size=100)),
        codec.ExecResponse: lambda _: _ENDED,
        codec.ExecCredit: lambda _: any_.exec_credit(amount=st.just(WINDOW // 2)),
        codec.ExecStdin: lambda sent: _of_input(any_.exec_stdin(data=st.binary(max_size=9)), sent),
        codec.ExecStdinCredit: lambda sent: _of_input(
            any_.exec_stdin_credit(amount=_AMOUNTS), sent
        ),
        codec.ExecStdinClosed: lambda sent: _of_input(any_.exec_stdin_closed(), sent),
    },
    holds,
    max_size=30,
)
"""Strategies for conversations in which one command runs alone, or up to three run at once.

The host makes no mistake in them, so the guest sends no `error`.
"""
