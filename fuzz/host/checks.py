"""The checks of a played script, which must pass whatever the guest sends."""

from __future__ import annotations

from itertools import accumulate, compress
from random import Random
from typing import TypeAlias

from microvm.errors import (
    Busy,
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

from ..report import agree
from .acts import QUESTIONS, HostCall
from .recorder import CallResult, RecordedCommand, Recorder

READY_TIMEOUT = 60.0  # the timeout of a boot, in seconds
_BESIDE_SINCE = 4  # first version of the protocol in which several commands can run at once
SLACK = 0.01  # maximum delay after a deadline, in seconds

LONGEST_MESSAGE = 500
"""Maximum length of an error's message, in characters. Its detail may be longer."""

_Limits: TypeAlias = list[tuple[float, type[ExecKilled]]]


def input_of(call: HostCall) -> bytes | None:
    """Return the input of a command. Its bytes are random, so that a wrong order is noticed."""
    return None if call.stdin is None else Random(0).randbytes(call.stdin)


def check(recorder: Recorder) -> None:
    """Check all results of a script."""
    for fault in recorder.faults:
        raise fault
    _check_loss(recorder)
    for its in recorder.calls:
        _check_call(recorder, its)


def _check_loss(recorder: Recorder) -> None:
    """Check that the host gave up the machine only for a valid reason, and in time."""
    error = recorder.error
    if error is not None:
        _check_text(error)
    if recorder.breach:
        reason = VersionMismatch if type(recorder.breach) is VersionMismatch else ProtocolError
        agree(type(error) is reason, "wrong error", f"{error!r}: {recorder.breach}")
    elif isinstance(error, GuestUnresponsive):
        agree(_is_silent(recorder), "the host gave up a guest that answered in time", error)
    elif isinstance(error, GuestDied):
        agree(bool(recorder.losses), "the host reports a living guest as dead", error)
    else:
        agree(error is None, "the host gave up the guest without a reason", repr(error))


def _is_silent(recorder: Recorder) -> bool:
    """Return whether the host gave up exactly when the time for some answer was over."""
    running = [command for command in recorder.commands if not command.ending]
    late = [when + TIMEOUTS.kill for command in running for when in command.kills]
    late += [when + TIMEOUTS.ping for when in recorder.pings.values()]
    asked = [its for its in recorder.calls if its.call.kind in QUESTIONS]
    late += [its.began + (its.call.timeout or TIMEOUTS.ping) for its in asked]
    return any(abs((recorder.left_at or 0) - when) < SLACK for when in late)


def _check_call(recorder: Recorder, its: CallResult) -> None:
    """Check that a call returned the guest's answer, or raised a documented error."""
    value, command, kind = its.value, its.command, its.call.kind
    if isinstance(value, MicroVMError):
        _check_text(value)
    elif isinstance(value, Exception):
        timed_out = kind == "ready" and isinstance(value, TimeoutError)
        agree(timed_out, f"{kind} raises an undocumented error", repr(value))
    if isinstance(value, MachineError):
        agree(value is recorder.error, "a call raises another error than the loss", repr(value))
    if kind == "ready" or kind in QUESTIONS:
        _check_answer(recorder, its)
    elif command is None:
        # A caller that leaves before the command ends gets no error after a loss.
        lost = its.left is not None and bool(recorder.losses)
        told = lost or isinstance(value, MachineError) or _is_busy(recorder, its)
        agree(told, "no command was requested, but no error was raised", repr(value))
    else:
        limits = _passed_limits(its, command)
        _check_end(recorder, its, command, limits)
        _check_time(recorder, its, _deadlines(recorder, its, command, limits))
        _check_output(its, command, limits)
        fed = input_of(its.call) or b""
        agree(fed.startswith(command.fed), "the guest got other input than the caller gave")
        agree(not command.fed_end or len(command.fed) == len(fed), "input ends early")


def _is_busy(recorder: Recorder, its: CallResult) -> bool:
    """Return whether a call rightly failed with `Busy`, because a command of another call ran.

    This can only happen if the script makes its calls at the same time. Then `keep` may fail. Other
    calls may fail only if the version of the protocol permits only one command at a time.
    """
    is_old = recorder.version < _BESIDE_SINCE
    refused = isinstance(its.value, Busy) and (its.call.kind == "keep" or is_old)
    return refused and recorder.permitted > 1


def _check_answer(recorder: Recorder, its: CallResult) -> None:
    """Check that a question returned the guest's answer, in time."""
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
            right = answered or isinstance(answer, MachineError) or _is_busy(recorder, its)
    agree(right, "a question returned a wrong answer", f"{its.call}: {its.value!r}")


def _passed_limits(its: CallResult, command: RecordedCommand) -> _Limits:
    """Return the limits that a command exceeded: the times, and the errors to raise."""
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
    """Check that a command ended as the guest reported, by its limits, or with the machine."""
    value = its.value
    if command.ending is None or (its.left is not None and value is None):
        over = value is None and (command.ending is not None or recorder.error is not None)
        agree(over or isinstance(value, MachineError), "a call ended without cause", repr(value))
        return
    at, end = command.ending
    if isinstance(end, codec.ExecFailed):
        right = isinstance(value, StartError) and value.errno == end.error_number
        agree(right and its.memory is None, "wrong error for a failed start", f"{value!r}: {end}")
        return
    first = min((when for when, _ in limits), default=0.0)
    wanted: list[object] = [kind for when, kind in limits if when <= first + SLACK]
    if all(abs(at - when) < SLACK for when, _ in limits):
        wanted.append(-end.status if end.ending else end.status)
    given = type(value) if isinstance(value, BaseException) else value
    agree(given in wanted, "a command ends wrongly", f"{value!r}, and not {wanted}: {end}")
    if its.call.kind != "communicate":  # which raises before the memory can be read
        agree(its.memory == (end.memory or None), "wrong memory", f"{its.memory}: {end}")


def _deadlines(
    recorder: Recorder, its: CallResult, command: RecordedCommand, limits: _Limits
) -> list[float]:
    """Return the deadlines for the end of a command. A guest that exceeds them is given up."""
    call, started, kill = its.call, command.started, TIMEOUTS.kill
    alive = max(started, recorder.last_pong)
    latest = [alive + TIMEOUTS.ping_interval + TIMEOUTS.ping]
    if call.timeout is not None:
        latest.append(started + call.timeout + (call.grace or 0) + kill)
    if its.left is not None:
        latest.append(its.left + kill)
    return latest + [when + kill for when, kind in limits if kind is OutputLimit]


def _check_time(recorder: Recorder, its: CallResult, deadlines: list[float]) -> None:
    """Check that a call returned before its deadlines, and soon after the loss of the guest."""
    # A caller that sleeps when the command ends notices it afterwards.
    late = its.ended - max(its.began, its.left or 0, min([*deadlines, *recorder.losses]))
    agree(late <= SLACK, "a call ends too late", f"{its.call}: {late} s")


def _check_output(its: CallResult, command: RecordedCommand, limits: _Limits) -> None:
    """Check that the caller read the written output: all, or as much as the limits allow."""
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
        agree(truth.startswith(out), "the caller read other output", f"stream {stream}")
        # After a kill, the host only keeps a window of the output.
        lost = its.left is None and len(out) < min(len(truth), least[stream])
        agree(not lost, "output is lost", f"{len(out)} of {len(truth)} bytes")


def _check_text(error: MicroVMError) -> None:
    """Check that an error is safe to print, whatever the guest has sent."""
    for text in (str(error), error.message, error.hint):
        agree(text.isprintable(), "a message cannot be printed", repr(text))
        agree(len(text) <= LONGEST_MESSAGE, "a message is too long", len(text))
    odd = [char for char in error.detail if not char.isprintable() and char not in "\n\t"]
    agree(not odd, "a detail cannot be printed", repr(odd))
