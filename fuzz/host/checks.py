"""Checks of what must hold of every script, whatever the guest says."""

from __future__ import annotations

from typing import TypeAlias

from microvm.errors import (
    ExecKilled,
    ExecTimeout,
    GuestDied,
    GuestUnresponsive,
    MachineError,
    MicroVMError,
    OutputLimit,
    ProtocolError,
    StartError,
    VersionMismatch,
)
from microvm.guest.timeouts import TIMEOUTS
from microvm.wire import codec
from microvm.wire.session import WINDOW

from .recorder import Command
from .result import NEVER, READY_TIMEOUT, CallResult, Result

LONGEST_MESSAGE = 500
"""The length of an error's message, in characters; its detail may be longer."""

_Limits: TypeAlias = list[tuple[float, type[ExecKilled]]]


class Violation(AssertionError):
    """The host did what it must not."""


def input_of(size: int) -> bytes:
    """Return what a command is fed: in the wrong order it would be other bytes."""
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


def check(result: Result) -> None:
    """Check everything.

    :raises Violation: something does not hold.
    """
    if result.recorder.faults:
        raise Violation(result.recorder.faults[0])
    checks = _Checks(result)
    checks.loss()
    checks.ready()
    for call in result.calls:
        checks.call(call)


def _require(right: bool, otherwise: str) -> None:
    if not right:
        raise Violation(otherwise)


class _Checks:
    def __init__(self, result: Result) -> None:
        self._result = result
        self._recorder = result.recorder
        self._slack = result.timing.slack
        self._timeouts = result.timing.timeouts

    def loss(self) -> None:
        """The machine is given up for the right reason, at the right time, or not at all."""
        error, recorder = self._result.error, self._recorder
        if error is not None:
            _check_text(error)
        if breach := recorder.breach:
            wanted = VersionMismatch if breach.version else ProtocolError
            _require(type(error) is wanted, f"{error!r} for a breach: {breach.why}")
        elif isinstance(error, GuestUnresponsive):
            _require(self._is_silent(self._result.lost_at), f"{error}, though it did")
        elif isinstance(error, GuestDied):
            ended = recorder.ended_at is not None or self._result.reset_at is not None
            _require(ended, f"{error}: it lives")
        else:
            _require(error is None, f"{error!r} for nothing")

    def _is_silent(self, at: float) -> bool:
        """Tell whether something has been unanswered for as long as it may be."""
        running = [command for command in self._recorder.commands if not command.ending]
        late = [when + self._timeouts.kill for command in running for when in command.kills]
        late += [when + self._timeouts.ping for when in self._recorder.pings.values()]
        for its in self._result.calls:
            if its.call.kind in ("ping", "status"):
                late.append(its.began + (its.call.timeout or TIMEOUTS.ping))
        return any(abs(at - when) < self._slack for when in late)

    def ready(self) -> None:
        """It is ready in time when it has said so."""
        its = self._result.ready
        error, took = its.value, its.ended - its.began
        _require(took <= READY_TIMEOUT + self._slack, "ready took too long")
        if isinstance(error, TimeoutError):
            _require(not self._recorder.greeted, "a time-out for a guest that was ready")
            _require(took >= READY_TIMEOUT - self._slack, "the time-out came early")
        elif error is None:
            _require(self._recorder.greeted, "it is ready without a word")
        else:
            _require(error is self._result.error, f"{error!r} is not why the guest was lost")

    def call(self, its: CallResult) -> None:
        """A call returns what was said, or raises one of the errors that there are."""
        value, command = its.value, its.command
        if isinstance(value, BaseException):
            if not isinstance(value, MicroVMError):
                raise Violation(f"{its.call.kind} raises {value!r}")
            _check_text(value)
        if isinstance(value, MachineError):
            lost = self._result.error
            _require(value is lost, f"{value!r} is not why the guest was lost: {lost!r}")
        if its.call.kind in ("ping", "status"):
            self._answer(its)
        elif command is None:
            _require(isinstance(value, MachineError), f"{value!r}, and nothing was asked")
        else:
            limits = self._passed_limits(its, command)
            self._end(its, command, limits)
            self._time(its, command, limits)
            self._output(its, command, limits)
            fed = input_of(its.call.stdin or 0)
            _require(fed.startswith(command.fed), "what was fed is not what was given")
            _require(not command.fed_end or len(command.fed) == len(fed), "input ended early")

    def _answer(self, its: CallResult) -> None:
        """Check the answer to a ping, or to a status request."""
        value, timeout = its.value, its.call.timeout or TIMEOUTS.ping
        # When the guest is lost meanwhile, nobody waits on.
        latest = [its.began + timeout, *(max(its.began, at) for at in self._losses())]
        late = its.ended - min(latest)
        _require(late <= self._slack, f"{its.call.kind} ended {late} s too late")
        if isinstance(value, codec.Status):
            told = [status.values for status in self._recorder.statuses]
            names = told[0] if told else {}
            _require(
                {name: getattr(value, name) for name in names} in told, f"{value} was not said"
            )
        else:
            answered = value is None and self._recorder.last_pong >= its.began
            _require(answered or isinstance(value, MachineError), f"{value!r} without an answer")

    def _passed_limits(self, its: CallResult, command: Command) -> _Limits:
        """Return when a command went beyond its limits, and beyond which."""
        call = its.call
        end = command.ending[0] if command.ending else its.ended
        limits: _Limits = []
        if call.timeout is not None and command.started + call.timeout <= end + self._slack:
            limits.append((command.started + call.timeout, ExecTimeout))
        total = 0
        for when, _, data in command.outputs:
            total += len(data)
            if call.max_output is not None and total > call.max_output:
                limits.append((when, OutputLimit))
                break
        return limits

    def _end(self, its: CallResult, command: Command, limits: _Limits) -> None:
        """A command ends as the guest has said, or as its limits have it, or with the machine."""
        value = its.value
        if command.ending is None or (its.left is not None and value is None):
            lost = self._result.error is not None
            ended = value is None and (command.ending is not None or lost)
            _require(ended or isinstance(value, MachineError), f"{value!r} without an end")
            return
        at, frame = command.ending
        wanted: list[object] = []
        if frame.kind == "exec_failed":
            wanted.append(StartError)
        elif limits:
            first = min(when for when, _ in limits)
            wanted += [kind for when, kind in limits if when <= first + self._slack]
        if frame.kind == "exec_response" and all(
            abs(at - when) < self._slack for when, _ in limits
        ):
            status = frame.values["status"]
            wanted.append(-status if frame.values["ending"] else status)
        given = type(value) if isinstance(value, BaseException) else value
        _require(given in wanted, f"{value!r}, and not {wanted}: {frame}")
        if isinstance(value, StartError):
            _require(value.errno == frame.values["error_number"], f"{value!r}: {frame}")

    def _time(self, its: CallResult, command: Command, limits: _Limits) -> None:
        """It ends within its deadlines: a guest that is silent, or lets nothing die, is lost."""
        call, started, kill = its.call, command.started, self._timeouts.kill
        alive = max(started, self._recorder.last_pong)
        latest = [alive + self._timeouts.ping_interval + self._timeouts.ping]
        if call.timeout is not None:
            latest.append(started + call.timeout + (call.grace or 0) + kill)
        if its.left is not None:
            latest.append(its.left + kill)
        latest += [when + kill for when, kind in limits if kind is OutputLimit]
        latest += [max(started, at) for at in self._losses()]
        # Who is asleep when a command ends finds out when he wakes.
        late = its.ended - max(min(latest), its.left or 0)
        _require(late <= self._slack, f"{call} ended {late} s too late")

    def _losses(self) -> list[float]:
        """The moments by which the guest is known to be lost."""
        breach, ended = self._recorder.breach, self._recorder.ended_at
        losses = [
            None if breach is None else breach.at,
            None if ended is None else ended + self._timeouts.loss_grace,
            self._result.reset_at,
        ]
        return [at for at in losses if at is not None]

    def _output(self, its: CallResult, command: Command, limits: _Limits) -> None:
        """Check that what was read is what was written: all, or as much as limits allow."""
        limit = its.call.max_output
        written: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        early = {1: 0, 2: 0}
        total = 0
        killed = min([when for when, _ in limits], default=NEVER)
        for when, stream, data in command.outputs:
            kept = data if limit is None else data[: max(limit - total, 0)]
            total += len(kept)
            written[stream] += kept
            if when < killed - self._slack:
                early[stream] += len(kept)
        for stream, out in its.out.items():
            truth = bytes(written[stream])
            _require(truth.startswith(out), f"stream {stream} is not what was written")
            if its.left is None:
                dropped = killed < NEVER and len(truth) > WINDOW
                least = early[stream] if dropped else len(truth)
                _require(len(out) >= least, f"stream {stream}: {len(out)} of {len(truth)} bytes")


def _check_text(error: MicroVMError) -> None:
    """Whatever a guest has said, its errors are safe to print."""
    for text in (str(error), error.message, error.hint):
        _require(text.isprintable(), f"a message cannot be printed: {text!r}")
        _require(len(text) <= LONGEST_MESSAGE, f"a message of {len(text)} characters")
    odd = [char for char in error.detail if not char.isprintable() and char not in "\n\t"]
    _require(not odd, f"a detail cannot be printed: {odd!r}")
