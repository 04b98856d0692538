"""The model of a running command: which output and which exit it may have, and must have."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from signal import SIGCONT, SIGINT, SIGKILL, SIGQUIT, SIGTERM

from microvm.wire import codec
from microvm.wire.codec import Ending, Stream

from ..report import Disagreement, agree
from .commands import ALL_INPUT, KnownCommand

MOST_INPUT = 16 * codec.ExecStdin.MAX_BODY
"""Maximum credit, in bytes, for the input of a command that runs alone (guest/input.h)."""

_LEAST_INPUT = codec.ExecStdin.MAX_BODY
"""Maximum credit, in bytes, for the input of a command that was started beside others."""

_MOST_HELD = 1 << 21  # number of bytes that is more than a pipe of the daemon holds
_ENOUGH = 1 << 17  # maximum number of bytes of an endless output that a check waits for

_STOPS = {19, 20, 21, 22}
_HARMLESS = {0, 17, SIGCONT, 23, 28, *_STOPS}
LAST_SIGNAL = 64


def _shown(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the sizes that `stty` may print for a terminal, because busybox replaces odd ones."""
    yield size
    rows, columns = size
    yield rows if 1 < rows < 30000 else 24, columns if 1 < columns < 30000 else 80


@dataclass
class Running:
    """The model of a running command.

    :ivar status: Its expected exit status; -N if it kills itself with signal N.
    :ivar paid: Total credit for each output stream since its start, in bytes.
    :ivar fed: True if its standard input comes from the host, or is a terminal.
    :ivar sizes: Sizes that its terminal may have had when it read the size; empty without a
        terminal.
    :ivar beside: True if other commands may run at the same time: the request has the flag
        `beside`.
    :ivar joined: True if standard error is part of standard output: the request has the flag
        `joined`.
    :ivar credit: Number of bytes of input that the host may still send.
    :ivar kills: Signals that may have killed it.
    :ivar torn: True if it was certainly killed together with all processes that it had started.
    :ivar cut: Total credit for each output stream at the time of an `exec_kill`, after which its
        end no longer waits for credit; None without `exec_kill`.
    """

    id: int
    command: KnownCommand
    status: int
    paid: dict[Stream, int]
    fed: bool = False
    sizes: set[tuple[int, int]] = field(default_factory=set)
    beside: bool = False
    joined: bool = False
    credit: int = 0
    kills: set[int] = field(default_factory=set)
    is_killed: bool = False
    torn: bool = False
    cut: dict[Stream, int] | None = None
    _count: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))
    _input: bytes = b""
    _input_ended: bool = False
    _input_closed: bool = False
    _stopped: bool = False

    def record(self, message: codec.Message) -> None:
        match message:
            case codec.ExecStdin(data=data):
                self._feed(bytes(data))
            case codec.ExecCredit():
                self.paid[message.stream] += message.amount
            case codec.ExecSignal():
                self._signal(message.signal)
            case codec.ExecTerminate() | codec.ExecKill():
                # After another signal, the command may have exited before this message arrived.
                self.torn |= not self.kills
                is_kill = isinstance(message, codec.ExecKill)
                self._signal(SIGKILL if is_kill else SIGTERM)
                if is_kill:  # then the daemon may drop output beyond the credit
                    self.cut = self.cut or dict(self.paid)
            case codec.ExecResize(rows=rows, columns=columns) if self.sizes:
                # If the command may have read the size before, both sizes are possible.
                has_asked = self._input or self._input_ended
                self.sizes = {(rows, columns), *(self.sizes if has_asked else ())}

    def _feed(self, data: bytes) -> None:
        """Record input. Empty input is the end of file."""
        self.credit -= len(data)
        if not self._input_ended and self.fed:
            self._input += data
            self._input_ended = not data
        if self.sizes and data.strip(b"\n"):
            self.kills |= {SIGINT, SIGQUIT}  # the input may contain Ctrl-C

    def _signal(self, number: int) -> None:
        """Record a signal to the process group."""
        if number in _STOPS:
            self._stopped = SIGKILL not in self.kills
        elif number in {SIGCONT, SIGKILL}:
            self._stopped = False
        if number not in _HARMLESS and number <= LAST_SIGNAL:
            self.kills.add(number)
            # The shell of the guest ignores SIGQUIT while it waits for a job.
            self.is_killed |= number != SIGQUIT

    def grant(self, amount: int) -> None:
        """Check and record credit for input."""
        agree(self.fed and amount > 0, "credit for no input", self)
        self.credit += amount
        agree(self.credit <= MOST_INPUT, "more credit for input than there is room", self)

    def _outputs(self, stream: Stream) -> list[bytes] | None:
        """Return the possible outputs; None if any is possible. Endless commands repeat it."""
        if self.sizes:
            return self._terminal_outputs() if stream is Stream.STDOUT else [b""]
        if self.command.takes is not None and stream is Stream.STDOUT:
            return [self._input[: self.command.takes]]
        if self.joined:
            both = self.command.stdout + self.command.stderr
            return [both if stream is Stream.STDOUT else b""]
        return [self.command.stdout if stream is Stream.STDOUT else self.command.stderr]

    def _terminal_outputs(self) -> list[bytes] | None:
        if self.command.sized and self._input == b"\n":
            if any(0 in size for size in self.sizes):
                return None  # busybox calls that an error
            shown = itertools.chain.from_iterable(map(_shown, self.sizes))
            return [b"\r\n%d %d\r\n" % size for size in shown]
        if self._input or self._input_ended or self.command.concurrent:
            return None
        return [(self.command.stdout + self.command.stderr).replace(b"\n", b"\r\n")]

    def check_output(self, output: codec.ExecOutput) -> None:
        """Check that an output frame is part of the expected output, and within its credit."""
        stream, data = Stream(output.stream), bytes(output.data)
        agree(len(data) > 0, "output without data", self.id)
        at = self._count[stream]
        self._count[stream] += len(data)
        agree(self._count[stream] <= self.paid[stream], "unpaid output", f"{len(data)} bytes")
        outputs = self._outputs(stream)
        right = outputs is None or any(self._holds(whole, at, data) for whole in outputs)
        if not right:  # the expected output can be a mebibyte, so do not format it for each frame
            detail = f"{data[:200]!r}, {len(data)} bytes, at {at} of {self}"
            raise Disagreement("wrong output", detail)

    def _holds(self, whole: bytes, at: int, data: bytes) -> bool:
        if self.command.endless and whole:
            at %= len(whole)
            whole *= (at + len(data)) // len(whole) + 1
        return whole[at : at + len(data)] == data

    def _may_exit(self) -> bool:
        if self.command.takes is not None and self.fed:
            return self._input_ended or len(self._input) >= self.command.takes
        return not self.command.lasts and (not self.command.sized or bool(self._input))

    def _must_exit(self) -> bool:
        return self._may_exit() and not (self.sizes and self._input.strip(b"\n"))

    def end(self, response: codec.ExecResponse) -> None:
        """Check that the exit of the command is possible, and its output complete."""
        ended = response.status if response.ending is Ending.EXITED else -response.status
        typed = self.sizes and (self._input or self._input_ended)
        if -ended in self.kills and ended < 0:
            return
        agree(ended == self.status, "wrong end", f"{response} of {self}")
        agree(bool(typed) or self._may_exit(), "too early an end", f"{response} of {self}")
        if not self.sizes:  # the last output of a terminal can be lost
            for stream in Stream:  # the contents were checked before, so only compare the sizes
                sizes = [len(whole) for whole in self._outputs(stream) or []]
                least = [min(size, self.cut[stream]) if self.cut else size for size in sizes]
                agree(least <= [self._count[stream]] <= sizes, "output is missing", self)

    def close_input(self) -> None:
        """Check that the command may have closed its input."""
        command = self.command
        reads = (command.takes or 0) > len(self._input) and not self._input_ended
        keeps = (reads or command.lasts) and not command.closes_input
        may = self.fed and not self._input_closed
        agree(may, "closed input that was not open", self)
        agree(not keeps or bool(self.kills or self.sizes), "input closed early", self)
        self._input_closed = True

    @property
    def _refill(self) -> int:
        """Credit for input, in bytes, below which the daemon must give the host more.

        This is half of the buffer, less two bytes, which the daemon reserves for the characters
        that mean end of file at a terminal.
        """
        return (_LEAST_INPUT if self.beside else MOST_INPUT) // 2 - 2

    def ends_all(self) -> bool:
        """Return whether the daemon's exit kills all processes that the command has started."""
        command = self.command
        is_torn = command.lasts and not command.escapes and not self.kills
        return not command.leaves or is_torn

    def missing(self) -> str:
        """Return a description of the next message that must arrive; empty if there is none."""
        return "" if self._stopped else next(self._all_missing(), "")

    def _all_missing(self) -> Iterator[str]:
        command = self.command
        waits = command.lasts or command.sized or command.takes is not None
        if self.fed and not self._input_ended and not self.kills:
            if command.closes_input:
                if not self.sizes and not self._input_closed:
                    yield "the end of its input"
            elif waits and not (self.credit or self._input):
                yield "credit for input"
            has_read = self._count[Stream.STDOUT] == len(self._input) and not self.sizes
            if command.takes == ALL_INPUT and has_read and self.credit <= self._refill:
                yield "more credit for input"
        for stream in Stream:
            if not self.kills and self._count[stream] < self._due(stream):
                yield "output"
        if self.cut or (
            (self.is_killed or self._must_exit())
            and all(self._is_paid(stream) for stream in Stream)
        ):
            yield "its end"

    def _due(self, stream: Stream) -> int:
        """Return the number of bytes of output that must arrive in total."""
        outputs = self._outputs(stream) or [b""]
        least = min(map(len, outputs))
        if self.command.endless and least:
            least = _ENOUGH
        elif self.command.takes not in {None, ALL_INPUT}:  # it may write when it exits
            least = least if self._may_exit() else 0
        return min(least, self.paid[stream])

    def _is_paid(self, stream: Stream) -> bool:
        """Return whether the credit certainly suffices for all output."""
        outputs = self._outputs(stream)
        room = self.paid[stream] - self._count[stream]
        if outputs is None or (self.command.endless and any(outputs)):
            return room >= _MOST_HELD
        return room >= max(map(len, outputs)) - self._count[stream]
