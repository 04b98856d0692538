"""One example against one target: the answers are as the model says, and the daemon lives."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck

from microvm import codec

from .model import Model
from .strategies import Example, Part
from .target import Target, exchange

SETTINGS = hypothesis.settings(
    deadline=None,  # of an example; a target has its own
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same examples every time in CI, others each time elsewhere."""

CORPUS = Path(__file__).parent / "corpus"

PAUSE = 0.02
"""Seconds that a command is given; whether it takes less or more, the model follows."""

_FIRST_NONCE = 0x6F7261636C65 << 16  # no strategy draws one as large


class Conversation:
    """A target with its model; where an example fails, the next meets a new target.

    :ivar examples: how many have passed.
    :ivar confirmed: frames that daemons have confirmed by their counters.
    """

    def __init__(self, start: Callable[[], Target]) -> None:
        """Take a function that starts a target."""
        self._start = start
        self.targets = 0
        self._target: Target | None = None
        self._nonces = itertools.count(_FIRST_NONCE)
        self._model = Model()
        self._decoder = codec.Decoder("guest")
        self.examples = 0
        self.confirmed = 0

    def run(self, example: Example) -> bool:
        """Send an example, then ask the daemon for signs of life.

        :return: whether it was sent; one that would end the daemon, or run what is unknown, is not.
        :raise Disagreement: the daemon did not do what the model says.
        :raise Lost: it is gone, or does not answer.
        """
        try:
            target = self._target or self._begin()
            filler = self._model.filler(example.data)
            if filler is None:
                return False
            self._converse(target, example, filler)
        except BaseException as error:
            error.add_note(repr(example))
            self.close()
            raise
        self.examples += 1
        return True

    def _begin(self) -> Target:
        """Start a target, and greet it: an example meets the same state on a new one as later."""
        self._target = self._start()
        self.targets += 1
        self._model = Model()
        self._decoder = codec.Decoder("guest")
        self._converse(self._target, Example((), ()), b"")
        return self._target

    def _converse(self, target: Target, example: Example, filler: bytes) -> None:
        nonce = next(self._nonces)
        hello = codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce)
        true = codec.ExecRequest(
            1, b"true", b"", (b"true",), (), 0, 0, b"", codec.StdinKind.NULL, 0, 0, 0, 0
        )
        oracle = hello.encode() + codec.Ping(nonce).encode() + true.encode()
        ready = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce)
        ended = codec.ExecResponse(1, codec.Ending.EXITED, 0)

        pieces, first = example.pieces, 0
        answers: list[codec.Message] = []
        if example.pause is not None:
            first = example.pause + 1
            if self._model.may_run(b"".join(pieces[:first])):
                answers += self._exchange_for_a_moment(target, pieces[:first])
            else:
                first = 0
        answers += exchange(
            target,
            self._decoder,
            [*pieces[first:], filler, oracle],
            lambda answers: bool(answers) and answers[-1] == ended and ready in answers,
        )
        self._check(example.data + filler + oracle, answers)
        status = codec.StatusRequest().encode()
        self._check(status, exchange(target, self._decoder, [status], bool))

    def _exchange_for_a_moment(self, target: Target, pieces: list[bytes]) -> list[codec.Message]:
        """Send these, and give a command that they may have started time to say something."""
        until = time.monotonic() + PAUSE

        def enough(answers: list[codec.Message]) -> bool:
            ended = any(isinstance(answer, codec.ExecResponse) for answer in answers)
            return ended or time.monotonic() > until

        return exchange(target, self._decoder, pieces, enough, patience=PAUSE / 4)

    def _check(self, data: bytes, answers: list[codec.Message]) -> None:
        before = self._model.frames_seen + self._model.frames_refused
        self._model.check(data, answers)
        self.confirmed += self._model.frames_seen + self._model.frames_refused - before

    def close(self) -> None:
        """End the target."""
        target, self._target = self._target, None
        if target is not None:
            target.close()


def corpus() -> list[Path]:
    """Return what once failed."""
    return sorted(CORPUS.glob("*.bin"))


def replays(path: Path) -> list[Example]:
    """Return a file of the corpus as examples: whole and, where it is short, byte by byte."""
    data = path.read_bytes()
    part = Part(path.name, data)
    whole = Example((part,), ())
    return [whole, Example((part,), tuple(range(1, len(data))))] if len(data) < 500 else [whole]
