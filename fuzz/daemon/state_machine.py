"""A hostile host as a state machine of Hypothesis, for a daemon as a process or in a real guest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from signal import SIGCONT, SIGKILL
from typing import Any

from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from microvm.wire import codec

from .. import strategies
from ..frames import HELLO
from ..report import agree
from ..strategies import LARGEST, Example
from . import commands
from .commands import LARGE, LASTING, LEAVING, READING, SHORT, SIZED, KnownCommand
from .conversation import DaemonConversation
from .running import Running

_MOST_ENDS = 3
"""Maximum number of daemons that an example stops, because starting each one takes time."""

_amounts = st.sampled_from([0, 1, 3, 6, 1000, 65524, 65536, 1 << 18, 1 << 20])
_amounts |= st.integers(0, 1 << 17)
_STEPS = [1, 1, 1, 1, 2, 1000, 0, -1, -3]  # differences between the id of a request and the last id

_held = strategies.weighted((2, st.just(0)), (1, st.integers(1, 40)))
"""Number of bytes at the end of a frame that are sent together with the next frame."""


_numbers = st.integers(1, 4)


def _to_run(among: list[KnownCommand], **more: Any) -> st.SearchStrategy[codec.ExecRequest]:
    """Return a strategy for requests to run one of the commands, mostly in an existing folder.

    The id in such a request is only a number N, by which a rule selects the Nth running command. If
    fewer commands run, the rule starts the command of the request, with a new id.
    """
    usual: Any = {"id_": _numbers, "paid": _amounts, "folders": [b"", b"", b"", b"/"]}
    return strategies.requests(st.sampled_from(among), **usual | more)


_kinds = [SHORT, LARGE, LEAVING, READING, READING, LASTING, LASTING, [SIZED], [commands.FORKING]]
_requests = st.sampled_from(_kinds).flatmap(_to_run)
_fed_requests = _to_run([*READING, *READING, *LASTING, SIZED], fed=True)
_fed_requests |= _to_run([commands.CAT], fed=True, rows=[0])
_unpaid_requests = _to_run([each for each in SHORT if each.stdout], paid=st.just(0))
_floods = st.integers(1, 10).map(lambda count: [codec.ExecStdin.MAX_BODY] * count)
"""Sizes of input that exceed the buffers of a command."""

_signals = st.sampled_from([0, 1, 2, 9, 13, 15, 17, 18, 19, 28, 34, 64, 65, 255]) | strategies.u8


class FuzzingHost(RuleBasedStateMachine):
    """A host that breaks any rule of the protocol. Each example creates one.

    Hypothesis must be able to repeat each draw, but whether a command still runs depends on time.
    So no precondition depends on it. A rule about a running command draws a request whose id is a
    number N. The rule uses the Nth running command. If fewer than N commands run, the rule starts
    the command of the request, if the protocol permits this.
    """

    def __init__(
        self, conversation: DaemonConversation, note: Callable[[Exception, bytes], None]
    ) -> None:
        super().__init__()
        self._talk = conversation
        self._note = note
        self._ends = 0
        conversation.begin()

    @property
    def _running(self) -> dict[int, Running]:
        return self._talk.model.running

    def _run(
        self, request: codec.ExecRequest, fits: Callable[[Running], bool] = lambda _: True
    ) -> Running | None:
        """Return a running command that `fits` accepts, or start the command of `request`.

        Return None if the started command has already exited, or if the session has no more ids.
        """
        self._talk.make_ready()
        among = [running for running in self._running.values() if fits(running)]
        if request.id <= len(among):
            return among[request.id - 1]
        if not self._talk.model.fits(request):
            if among:
                return among[-1]
            self._talk.greet()
        if self._talk.model.last_id == LARGEST:
            return None
        started = replace(request, id=self._talk.model.last_id + 1)
        self._talk.say(started)
        self._talk.sync()
        return self._running.get(started.id)

    def _pay_all(self, running: Running, held: int = 0) -> None:
        for stream in codec.Stream:
            self._talk.say(codec.ExecCredit(running.id, stream, LARGEST), held)

    @rule(example=strategies.examples(), held=_held)
    def any_bytes(self, example: Example, held: int) -> None:
        """Send valid frames, invalid frames and random bytes."""
        self._talk.send(example.data, example.cuts, held)

    @rule(message=strategies.messages, held=_held)
    def message(self, message: codec.Message, held: int) -> None:
        """Send any message with any id."""
        self._talk.say(message, held)

    @rule()
    def hello(self) -> None:
        self._talk.greet()

    @rule(held=_held)
    def keep(self, held: int) -> None:
        """Send a `keep`. The daemon must refuse it while commands run."""
        self._talk.make_ready()
        self._talk.say(codec.Keep(), held)

    @rule(request=_requests, step=st.sampled_from(_STEPS), held=_held)
    def start(self, request: codec.ExecRequest, step: int, held: int) -> None:
        """Request a command, even if others run, or if an earlier request had the same id."""
        self._talk.make_ready()
        id_ = max(1, self._talk.model.last_id + step)
        if id_ <= LARGEST:
            self._talk.say(replace(request, id=id_), held)

    @rule(message=strategies.about_an_exec, step=st.integers(-3, 3), held=_held)
    def mistake(self, message: Any, step: int, held: int) -> None:
        """Send a message about an exec that has finished or does not exist yet."""
        self._talk.make_ready()
        id_ = self._talk.model.last_id + step
        if 0 < id_ <= LARGEST and id_ not in self._running:
            self._talk.say(replace(message, id=id_), held)

    # Each rule below is about a running command. The rule draws a request, and starts the requested
    # command if too few commands run.

    @rule(
        request=_requests,
        stream=st.sampled_from(codec.Stream),
        amounts=st.lists(_amounts, min_size=1, max_size=4),
    )
    def pay(self, request: codec.ExecRequest, stream: codec.Stream, amounts: list[int]) -> None:
        """Give credit in several amounts."""
        for amount in amounts:
            if running := self._run(request):
                self._talk.say(codec.ExecCredit(running.id, stream, amount))
                self._talk.settle()

    @rule(
        request=_fed_requests,
        sizes=st.lists(st.sampled_from([0, 1, 100, 4096, 65535, 65536]), max_size=6) | _floods,
        payment=st.sampled_from(["before", "after", "never"]),
        beyond=st.booleans(),
        wait=st.booleans(),
    )
    def feed(
        self, request: codec.ExecRequest, sizes: list[int], payment: str, beyond: bool, wait: bool
    ) -> None:
        """Send input to the command in pieces, within the credit or beyond it.

        A piece of size 0 is the end of file.
        """
        running = self._run(request, lambda running: running.fed)
        if running and payment == "before":
            self._pay_all(running)
        self._talk.settle()
        for number, size in enumerate(sizes):
            if not running or running.id not in self._running:
                return
            room = codec.ExecStdin.MAX_BODY if beyond else max(0, running.credit)
            data = commands.NUMBERS[number:][: min(size, room)]
            if data or not size:
                data = b"\n" if running.sizes and data else data
                self._talk.say(codec.ExecStdin(running.id, data))
            self._talk.settle() if wait else self._talk.sync()
        if running and payment == "after":
            self._pay_all(running)
        self._talk.settle()

    @rule(
        request=_to_run([commands.YES, *LARGE]), read_size=st.sampled_from([2000, 30000, 1 << 18])
    )
    def look_away(self, request: codec.ExecRequest, read_size: int) -> None:
        """Stop reading until the socket's buffer is full of output, then continue."""
        if running := self._run(request):
            for stream in codec.Stream:
                self._talk.say(codec.ExecCredit(running.id, stream, 1 << 20))
        self._talk.look_away(read_size)

    @rule(request=_requests, number=_signals, wait=st.booleans())
    def signal(self, request: codec.ExecRequest, number: int, wait: bool) -> None:
        if running := self._run(request):
            self._talk.say(codec.ExecSignal(running.id, number))
        if wait:
            self._talk.settle()

    @rule(
        request=_to_run([SIZED, *READING]),
        sizes=st.lists(st.tuples(strategies.u16, strategies.u16), max_size=2),
        ask=st.booleans(),
    )
    def resize(self, request: codec.ExecRequest, sizes: list[tuple[int, int]], ask: bool) -> None:
        """Change the size of the command's terminal, and let the command print the size."""
        running = self._run(request, lambda running: bool(running.sizes))
        self._talk.settle()
        for rows, columns in sizes:
            if running:
                self._talk.say(codec.ExecResize(running.id, rows, columns))
        if running and ask:
            self._talk.say(codec.ExecStdin(running.id, b"\n"))
            self._pay_all(running)
        self._talk.settle()

    @rule(
        request=_requests | _fed_requests | _to_run(commands.FAMILIES) | _unpaid_requests,
        way=st.sampled_from(["input", "terminate", "kill", "signal", "unpaid"]),
        held=st.sampled_from([0, 100]),
    )
    def finish(self, request: codec.ExecRequest, way: str, held: int) -> None:
        """End the command in one of the usual ways, and check the daemon's resources."""
        running = self._run(request)
        if not running:
            return
        if held:
            self._talk.pause()  # so that its output waits when credit and kill arrive together
        if way != "unpaid":
            self._pay_all(running, held)
        if running.command.lasts and not held:
            self._talk.settle()
        if running.command.takes and running.fed and not running.sizes and way == "input":
            self._talk.say(codec.ExecStdin(running.id, b""))
        elif way == "terminate":
            self._talk.say(codec.ExecTerminate(running.id))
        elif way == "signal":
            self._talk.say(codec.ExecSignal(running.id, SIGKILL))
        else:
            self._talk.say(codec.ExecKill(running.id))
        self._talk.say(codec.ExecSignal(running.id, SIGCONT))
        self._talk.settle()
        agree(running.id not in self._running, "a command that goes on", running)
        self.status()

    @rule()
    def settle(self) -> None:
        self._talk.settle()

    @rule()
    def sync(self) -> None:
        self._talk.sync()

    @rule()
    def pause(self) -> None:
        """Wait, so that the command can do something."""
        self._talk.pause()

    @rule()
    def status(self) -> None:
        """Check the resources that the daemon holds while no command runs."""
        self._talk.make_ready()
        if not self._running:
            self._talk.check_status()

    @precondition(lambda self: not self._talk.model.is_init and self._ends < _MOST_ENDS)
    @rule(
        request=_to_run(LASTING) | st.none(),
        before=st.sampled_from([b"", *[HELLO + codec.Ping(1).encode()] * 2]),
        message=strategies.messages,
        share=st.sampled_from([0.0, 0.5, 1.0]),
        way=st.sampled_from(["half", "half", "whole", "shutdown"]),
    )
    def hang_up(
        self,
        request: codec.ExecRequest | None,
        before: bytes,
        message: codec.Message,
        share: float,
        way: str,
    ) -> None:
        """Stop the daemon after an incomplete frame."""
        self._ends += 1
        if request:
            if self._talk.model.strays:
                self._talk.greet()
                self._talk.check_status()
            self._run(request)
        if way == "shutdown":
            self._talk.make_ready()
        data = message.encode()
        self._talk.end(way, before + data[: round((len(data) - 1) * share)])

    def teardown(self) -> None:
        """Finish the example: check that the daemon holds no more resources than at first."""
        try:
            error = sys.exception()
            # Exceptions of Hypothesis end an example without a failure.
            if isinstance(error, Exception) and not isinstance(error, HypothesisException):
                raise error
            self._talk.finish()
        except Exception as failure:
            self._note(failure, self._talk.sent)
            self._talk.close()
            raise
