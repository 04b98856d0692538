"""Check of a running daemon against the test vectors."""

from __future__ import annotations

import itertools

from microvm.wire import codec
from microvm.wire.codec import ErrorCode, Fault

from .connection import HostConnection, Target
from .vectors import Vector

_FIRST_NONCE = 0x766563746F7273 << 8
"""First nonce. No vector contains this number or one of the next few thousand."""


def check_vectors(target: Target, vectors: list[Vector], *, longest: int | None = None) -> int:
    """Send each vector to a daemon, and check that it accepts or refuses it as the vector says.

    The daemon must refuse messages of the guest, since they have the wrong direction. The
    `shutdown` message is not sent, because it would end the daemon.

    :param longest: maximum length of frames to send in one piece and byte by byte.
    :return: number of frames that were sent.
    """
    conversation = _Conversation(target, apart=longest is not None)
    sent = 0
    for vector in vectors:
        if vector.message == "shutdown" or len(vector.frame) > (longest or len(vector.frame)):
            continue
        if vector.sender == "guest" and vector.fault:
            continue
        conversation.greet()
        if vector.sender == "guest":
            conversation.refuses(vector, (Fault.BAD_DIRECTION, 4, 0))
        elif vector.fault:
            conversation.refuses(vector, vector.fault)
        else:
            conversation.takes(vector)
        sent += 1
    return sent


class _Conversation:
    def __init__(self, target: Target, *, apart: bool) -> None:
        self.connection = HostConnection(target)
        self.apart = apart
        self.nonces = itertools.count(_FIRST_NONCE)

    def greet(self) -> None:
        """Start a new session, and discard what still arrives from the previous one."""
        nonce = next(self.nonces)
        hello = codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce)
        ready = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce)
        self.say([hello.encode()], ready)

    def refuses(self, vector: Vector, fault: tuple[int, int, int]) -> None:
        code, offset, field = fault
        type_, id_ = (int.from_bytes(vector.frame[a:b], "little") for a, b in ((4, 6), (8, 12)))
        error = codec.Error(id_, ErrorCode(code), type_, offset, field)
        self.connection.exchange(self.pieces(vector), bool)
        assert self.connection.take() == [error], vector.name

    def takes(self, vector: Vector) -> None:
        before = self.frames_seen()
        token = next(self.nonces)
        answers = self.say([*self.pieces(vector), codec.Ping(token).encode()], codec.Pong(token))
        refusals = [answer.code for answer in answers if isinstance(answer, codec.Error)]
        # A well-formed request may still fail, such as a signal when no command runs.
        assert not set(refusals) & set(Fault), vector.name
        assert self.frames_seen() == before + 3, vector.name

    def frames_seen(self) -> int:
        request = codec.StatusRequest().encode()
        self.connection.exchange(
            [request], lambda answers: any(isinstance(answer, codec.Status) for answer in answers)
        )
        (status,) = (each for each in self.connection.take() if isinstance(each, codec.Status))
        return status.frames_seen

    def say(self, pieces: list[bytes], last: codec.Message) -> list[codec.Message]:
        """Write these bytes, and read until the expected messages have arrived."""
        self.connection.exchange(pieces, lambda answers: last in answers)
        return self.connection.take()

    def pieces(self, vector: Vector) -> list[bytes]:
        data = vector.frame
        return [data[at : at + 1] for at in range(len(data))] if self.apart else [data]
