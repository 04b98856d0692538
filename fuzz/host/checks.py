"""Checks of what must hold of every script, whatever the guest says."""

from __future__ import annotations

from itertools import accumulate, compress
from random import Random
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

from ..disagreement import agree
from .acts import QUESTIONS, HostCall
from .recorder import CallResult, RecordedCommand, Recorder

READY_TIMEOUT = 60.0
"""The timeout of a boot, in seconds."""

SLACK = 0.01
"""What a deadline may be missed by, in seconds."""

LONGEST_MESSAGE = 500
"""The length of an error's message, in characters; its detail may be longer."""

_Limits: TypeAlias = list[tuple[float, type[ExecKilled]]]


def input_of(call: HostCall) -> bytes | None:
    """Return what a command is fed: in the wrong order it would be other bytes."""
    return None if call.stdin is None else Random(0).randbytes(call.stdin)


def check(recorder: Recorder) -> None:
    """Check everything.

    :raises Disagreement: something does not hold.
    """
    for fault in recorder.faults:
        raise fault
    _check_loss(recorder)
    for its in recorder.calls:
        _check_call(recorder, its)


def _check_loss(recorder: Recorder) -> None:
    """The machine is given up for the right reason, at the right time, or not at all."""
    error = recorder.error
    if error is not None:
        _check_text(error)
    if recorder.breach:
        reason = VersionMismatch if type(recorder.breach) is VersionMismatch else ProtocolError
        agree(type(error) is reason, "wrong error", f"{error!r}: {recorder.breach}")
    elif isinstance(error, GuestUnresponsive):
        agree(_is_silent(recorder), "given up, though it has answered in time", error)
    elif isinstance(error, GuestDied):
        agree(bool(recorder.losses), "dead, and it lives", error)
    else:
        agree(error is None, "given up for nothing", repr(error))


def _is_silent(recorder: Recorder) -> bool:
    """Tell whether something has been unanswered for as long as it may be, and not longer."""
    running = [command for command in recorder.commands if not command.ending]
    late = [when + TIMEOUTS.kill for command in running for when in command.kills]
    late += [when + TIMEOUTS.ping for when in recorder.pings.values()]
    asked = [its for its in recorder.calls if its.call.kind in QUESTIONS]
    late += [its.began + (its.call.timeout or TIMEOUTS.ping) for its in asked]
    return any(abs((recorder.left_at or 0) - when) < SLACK for when in late)


def _check_call(recorder: Recorder, its: CallResult) -> None:
    """A call returns what was said, or raises one of the errors that there are."""
    value, command, kind = its.value, its.command, its.call.kind
    if isinstance(value, MicroVMError):
        _check_text(value)
    elif isinstance(value, Exception):
        timed_out = kind == "ready" and isinstance(value, TimeoutError)
        agree(timed_out, f"{kind} raises what it must not", repr(value))
    if isinstance(value, MachineError):
        agree(value is recorder.error, "a call ends for another reason than the loss", repr(value))
    if kind == "ready" or kind in QUESTIONS:
        _check_answer(recorder, its)
    elif command is None:
        # Who leaves without waiting for an end is not told of a loss.
        lost = its.left is not None and bool(recorder.losses)
        told = lost or isinstance(value, MachineError)
        agree(told, "no error, and nothing was asked", repr(value))
    else:
        limits = _passed_limits(its, command)
        _check_end(recorder, its, command, limits)
        _check_time(recorder, its, _deadlines(recorder, its, command, limits))
        _check_output(its, command, limits)
        fed = input_of(its.call) or b""
        agree(fed.startswith(command.fed), "what is fed is not what was given")
        agree(not command.fed_end or len(command.fed) == len(fed), "input ends early")


def _check_answer(recorder: Recorder, its: CallResult) -> None:
    """A question is answered by what was said, and in time."""
    timeout = its.call.timeout or TIMEOUTS.ping
    _check_time(recorder, its, [its.began + timeout])
    match its.value:
        case codec.Status():
            right = its.value in recorder.statuses
        case TimeoutError():
            right = not recorder.greeted and its.ended - its.began >= timeout - SLACK
        case None if its.call.kind == "ready":
            right = recorder.greeted
        case answer:
            answered = answer is None and recorder.last_pong >= its.began
            right = answered or isinstance(answer, MachineError)
    agree(right, "a question is answered wrongly", f"{its.call}: {its.value!r}")


def _passed_limits(its: CallResult, command: RecordedCommand) -> _Limits:
    """Return when a command went beyond its limits, and beyond which."""
    call = its.call
    end = command.ending[0] if command.ending else its.ended
    limits: _Limits = []
    if call.timeout is not None and command.started + call.timeout <= end + SLACK:
        limits.append((command.started + call.timeout, ExecTimeout))
    if call.max_output is not None:
        totals = accumulate(len(data) for _, _, data in command.outputs)
        over = (total > call.max_output for total in totals)
        limits += [(when, OutputLimit) for when, _, _ in compress(command.outputs, over)][:1]
    return limits


def _check_end(
    recorder: Recorder, its: CallResult, command: RecordedCommand, limits: _Limits
) -> None:
    """A command ends as the guest has said, or as its limits have it, or with the machine."""
    value = its.value
    if command.ending is None or (its.left is not None and value is None):
        over = value is None and (command.ending is not None or recorder.error is not None)
        agree(over or isinstance(value, MachineError), "no error, and no end", repr(value))
        return
    at, end = command.ending
    if isinstance(end, codec.ExecFailed):
        right = isinstance(value, StartError) and value.errno == end.error_number
        agree(right and its.memory is None, "no start, and another error", f"{value!r}: {end}")
        return
    first = min((when for when, _ in limits), default=0.0)
    wanted: list[object] = [kind for when, kind in limits if when <= first + SLACK]
    if all(abs(at - when) < SLACK for when, _ in limits):
        wanted.append(-end.status if end.ending else end.status)
    given = type(value) if isinstance(value, BaseException) else value
    agree(given in wanted, "a command ends wrongly", f"{value!r}, and not {wanted}: {end}")
    if its.call.kind != "communicate":  # which raises before anybody could ask
        agree(its.memory == (end.memory or None), "wrong memory", f"{its.memory}: {end}")


def _deadlines(
    recorder: Recorder, its: CallResult, command: RecordedCommand, limits: _Limits
) -> list[float]:
    """Return when a command ends at the latest: a guest that lets nothing die is lost."""
    call, started, kill = its.call, command.started, TIMEOUTS.kill
    alive = max(started, recorder.last_pong)
    latest = [alive + TIMEOUTS.ping_interval + TIMEOUTS.ping]
    if call.timeout is not None:
        latest.append(started + call.timeout + (call.grace or 0) + kill)
    if its.left is not None:
        latest.append(its.left + kill)
    return latest + [when + kill for when, kind in limits if kind is OutputLimit]


def _check_time(recorder: Recorder, its: CallResult, deadlines: list[float]) -> None:
    """A call ends within its deadlines, and when the guest is lost nobody waits on."""
    # Who is asleep when a command ends finds out when he wakes.
    late = its.ended - max(its.began, its.left or 0, min([*deadlines, *recorder.losses]))
    agree(late <= SLACK, "a call ends too late", f"{its.call}: {late} s")


def _check_output(its: CallResult, command: RecordedCommand, limits: _Limits) -> None:
    """Check that what was read is what was written: all, or as much as limits allow."""
    limit = its.call.max_output
    written: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    least = {1: WINDOW, 2: WINDOW}
    total = 0
    killed = min((when for when, _ in limits), default=float("inf"))
    for when, stream, data in command.outputs:
        kept = data if limit is None else data[: max(limit - total, 0)]
        total += len(kept)
        written[stream] += kept
        if when < killed - SLACK:
            least[stream] += len(kept)
    for stream, out in its.out.items():
        truth = written[stream]
        agree(truth.startswith(out), "what is read is not what was written", f"stream {stream}")
        # What is written to a command that is killed is kept as far as a window.
        lost = its.left is None and len(out) < min(len(truth), least[stream])
        agree(not lost, "output is lost", f"{len(out)} of {len(truth)} bytes")


def _check_text(error: MicroVMError) -> None:
    """Whatever a guest has said, its errors are safe to print."""
    for text in (str(error), error.message, error.hint):
        agree(text.isprintable(), "a message cannot be printed", repr(text))
        agree(len(text) <= LONGEST_MESSAGE, "a message is too long", len(text))
    odd = [char for char in error.detail if not char.isprintable() and char not in "\n\t"]
    agree(not odd, "a detail cannot be printed", repr(odd))
